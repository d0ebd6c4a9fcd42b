/*
 * program: where the programs are that belong to crisp.
 */
#ifndef CRISP_BASE_PROGRAM_H
#define CRISP_BASE_PROGRAM_H

/*
 * Absolute path of a helper program ("crisp-monitor"), on the heap: beside our own executable where
 * it is there, as in the build's folder, else in the folder for helper programs that was named at
 * build time, whether it is there or not. Any thread; blocks for a few system calls.
 */
char *program_path(const char *name);

#endif
