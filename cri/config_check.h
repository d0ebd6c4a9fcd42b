/*
 * config_check: texts of the configuration that have a form of their own. For config_load.c alone.
 */
#ifndef CRISP_CRI_CONFIG_CHECK_H
#define CRISP_CRI_CONFIG_CHECK_H

#include "cri/config_load.h"

/* What is wrong with a text of this type, to stand after the text ("is no ..."); null when nothing
 * is. Literals. */
const char *config_check_item(enum config_type type, const char *text);

#endif
