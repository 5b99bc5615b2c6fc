/* libjpeg's errors as a jump back to whoever called it. Its warnings too: each of them means that data is damaged. */
#ifndef FAILURE_H
#define FAILURE_H

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

struct failure {
    struct jpeg_error_mgr manager; /* first, so that libjpeg's pointer to it is one to the whole */
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
};

static inline void failure_jump(j_common_ptr common) {
    struct failure *failure = (struct failure *)common->err;
    (*common->err->format_message)(common, failure->message);
    longjmp(failure->back, 1);
}

static inline void failure_on_warning(j_common_ptr common, int level) {
    if (level < 0) failure_jump(common);
}

/* What `err` of a libjpeg object is to be; its owner calls setjmp(failure->back) before anything else. */
static inline struct jpeg_error_mgr *failure_manager(struct failure *failure) {
    struct jpeg_error_mgr *manager = jpeg_std_error(&failure->manager);
    manager->error_exit = failure_jump;
    manager->emit_message = failure_on_warning;
    return manager;
}

#endif
