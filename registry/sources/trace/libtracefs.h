// What is used of libtracefs. Its own header is C and no C++ (libtracefs 1.6: an int becomes an
// enumeration in an inline function), so its declarations are repeated here; libtracefs.c includes
// both, and does not compile when they differ.
#pragma once

#include <event-parse.h>

#ifdef __cplusplus
extern "C" {
#else
#include <stdbool.h>
#endif

struct tracefs_instance;

const char* tracefs_tracing_dir(void);
void tracefs_set_loglevel(enum tep_loglevel level);

struct tracefs_instance* tracefs_instance_create(const char* name);
bool tracefs_instance_is_new(struct tracefs_instance* instance);
int tracefs_instance_destroy(struct tracefs_instance* instance);
void tracefs_instance_free(struct tracefs_instance* instance);
int tracefs_instance_file_open(struct tracefs_instance* instance, const char* file, int mode);
char* tracefs_instance_file_read(struct tracefs_instance* instance, const char* file, int* psize);
int tracefs_instance_file_write(struct tracefs_instance* instance, const char* file,
                                const char* str);

char* tracefs_event_file_read(struct tracefs_instance* instance, const char* system,
                              const char* event, const char* file, int* psize);
int tracefs_event_enable(struct tracefs_instance* instance, const char* system, const char* event);
int tracefs_event_disable(struct tracefs_instance* instance, const char* system, const char* event);

int tracefs_trace_on(struct tracefs_instance* instance);
int tracefs_trace_off(struct tracefs_instance* instance);

#ifdef __cplusplus
}
#endif
