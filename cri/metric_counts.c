#include "cri/metric_counts.h"

uint64_t metric_counts[METRIC_COUNTS];
