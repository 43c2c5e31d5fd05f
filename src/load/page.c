#include "load/page.h"

static const char page_style[] =
    ":root{color-scheme:light dark}body{margin:0;background:#fff;color:#1f2328;font:15px/1.5 "
    "system-ui,sans-serif}"
    "main{max-width:760px;margin:0 auto;padding:24px 16px}h1{font-size:22px;overflow-wrap:anywhere}"
    "h2{font-size:17px;margin-top:32px}"
    "table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}"
    "td,th{padding:4px 8px;text-align:right;border-bottom:1px solid #d8dee4}"
    "td:first-child,th:first-child{text-align:left;overflow-wrap:anywhere}"
    ".w{overflow-x:auto;margin:12px 0}.w td:first-child{white-space:nowrap}.w svg{max-width:none}"
    "pre{overflow-x:auto;padding:8px 12px;background:#8c959f26}.big{font-size:30px;font-weight:600}"
    ".note{border-left:4px solid #d9480f;padding:4px 12px;margin:8px 0}.soft{color:#656d76}"
    "code{overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}"
    "td,th{border-color:#30363d}.soft{color:#9198a1}}";

void sc_page_begin(struct sc_buf *out, const char *subject)
{
    sc_buf_str(out,
               "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
               "content=\"width=device-width,initial-scale=1\"><title>");
    sc_xml_text(out, subject);
    sc_buf_printf(out, "</title><style>%s%s</style></head><body><main>\n", page_style, sc_svg_style);
    sc_page_element(out, "h1", "", subject);
}

void sc_page_element(struct sc_buf *out, const char *tag, const char *attributes, const char *text)
{
    sc_buf_printf(out, "<%s%s>", tag, attributes);
    sc_xml_text(out, text);
    sc_buf_printf(out, "</%s>\n", tag);
}

void sc_page_note(struct sc_buf *out, const char *before, const char *text)
{
    sc_buf_printf(out, "<p class=\"note\"><b>%s</b> ", before);
    sc_xml_text(out, text);
    sc_buf_str(out, "</p>\n");
}

void sc_page_facts(struct sc_buf *out, const struct sc_fact *facts, unsigned nfacts)
{
    sc_buf_str(out, "<h2>Where and how</h2><table>");
    for (unsigned i = 0; i < nfacts; i++) {
        sc_buf_str(out, "<tr>");
        sc_page_element(out, "td", "", facts[i].name);
        sc_page_element(out, "td", "", facts[i].value);
        sc_buf_str(out, "</tr>\n");
    }
}

void sc_page_end(struct sc_buf *out, const char *command)
{
    sc_buf_str(out, "</table>\n<p><code>");
    sc_xml_text(out, command);
    sc_buf_str(out, "</code></p></main></body></html>\n");
}

size_t sc_page_open_picture(struct sc_buf *out)
{
    size_t at = out->n;
    sc_buf_str(out, "<div class=\"w\">");
    return at;
}

void sc_page_close_picture(struct sc_buf *out, size_t opened, bool drawn)
{
    if (drawn)
        sc_buf_str(out, "</div>\n");
    else
        out->n = opened;
}
