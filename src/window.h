/*-------------------------------------------------------------------------
 *
 * window.h
 *	  Times of the PMS: how they are read, and how they are written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WINDOW_H
#define JS_WINDOW_H

#include "stream.h"

extern bool js_time_parse(const char *text, TimestampTz *time);
extern char *js_time_format(JsStream *stream, TimestampTz time);
extern TimestampTz js_time_floor(JsStream *stream, TimestampTz time);
extern int64 js_time_grain(JsStream *stream);
extern TimestampTz js_time_safe(JsStream *stream, TimestampTz time);

#endif							/* JS_WINDOW_H */
