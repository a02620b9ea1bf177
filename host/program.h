// Where this program is, as a file: to be started again, and to be read.
#ifndef KF_PROGRAM_H
#define KF_PROGRAM_H

// From main, with its argv.
void kf_program_set(char **words);

// The words that it was started with, ended by NULL.
char *const *kf_program_words(void);

// Path that starts this program again; NULL when it cannot be told.
const char *kf_program_path(void);

// The program's own file, opened for reading; -1 when it is not to be had.
int kf_program_open(void);

#endif
