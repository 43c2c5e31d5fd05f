/*
 * What the pages of reports are made of: one file each, without scripts and without anything from elsewhere,
 * for light and dark, narrow windows and print. Writers append to a buffer; text is escaped. Pure.
 */
#ifndef SC_LOAD_PAGE_H
#define SC_LOAD_PAGE_H

#include "load/measure.h"
#include "load/svg.h"

/* Up to the headline, which is the subject. */
void sc_page_begin(struct sc_buf *out, const char *subject);
/* <tag>text</tag>; attributes with a blank before each, or "". */
void sc_page_element(struct sc_buf *out, const char *tag, const char *attributes, const char *text);
/* What a reader must not miss; `before` is a word for it, with its colon. */
void sc_page_note(struct sc_buf *out, const char *before, const char *text);
/* Opens the table of what was measured where, with the facts in it; rows may follow, then sc_page_end. */
void sc_page_facts(struct sc_buf *out, const struct sc_fact *facts, unsigned nfacts);
/* Ends that table, and the page with the command. */
void sc_page_end(struct sc_buf *out, const char *command);

/* Before a picture that may be empty, and after it: with nothing drawn nothing is left. */
size_t sc_page_open_picture(struct sc_buf *out);
void sc_page_close_picture(struct sc_buf *out, size_t opened, bool drawn);

#endif
