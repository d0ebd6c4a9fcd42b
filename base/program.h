/*
 * program: where our helper programs are.
 */
#ifndef CRISP_BASE_PROGRAM_H
#define CRISP_BASE_PROGRAM_H

/*
 * The absolute path of a program of ours ("crisp-monitor"), on the heap: beside this process's own executable where it
 * is there (the folder it was built in), else in the folder that `make install` puts them into. It need not exist
 * there. Reads a link in /proc; any thread.
 */
char *program_path(const char *name);

#endif
