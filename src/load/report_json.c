#include "load/report_parts.h"
#include "proto/json_write.h"

static void put_double(struct sc_json_writer *w, const char *name, double v)
{
    sc_json_key(w, name);
    sc_json_double(w, v);
}

static void hist(struct sc_json_writer *w, const char *name, const struct sc_hist *h)
{
    sc_json_key(w, name);
    sc_json_begin_object(w);
    put_double(w, "mean", sc_hist_mean(h) / 1e3);
    for (unsigned i = 0; i < SC_QUANTILES; i++)
        put_double(w, sc_quantiles[i].name, (double)sc_hist_at(h, sc_quantiles[i].share) / 1e3);
    put_double(w, "min", h->count ? (double)h->min / 1e3 : 0);
    put_double(w, "max", (double)h->max / 1e3);
    sc_json_end_object(w);
}

static void buckets(struct sc_json_writer *w, const char *name, const struct sc_hist *h)
{
    sc_json_key(w, name);
    sc_json_begin_array(w);
    for (unsigned i = 0; i < SC_HIST_BUCKETS; i++) {
        if (!h->bucket[i])
            continue;
        sc_json_begin_array(w);
        sc_json_double(w, (double)sc_hist_bucket_max(i) / 1e3);
        sc_json_uint(w, h->bucket[i]);
        sc_json_end_array(w);
    }
    sc_json_end_array(w);
}

static void errors(struct sc_json_writer *w, const struct sc_load_result *r)
{
    sc_json_put_int(w, "failed", (int64_t)r->failed);
    sc_json_key(w, "errors");
    sc_json_begin_object(w);
    for (unsigned e = 0; e < SC_LOAD_ERRORS; e++)
        sc_json_put_int(w, sc_load_error_name(e), (int64_t)r->errors[e]);
    sc_json_end_object(w);
}

static void series(struct sc_json_writer *w, const struct sc_series *s)
{
    sc_json_key(w, "series");
    sc_json_begin_object(w);
    put_double(w, "width_s", (double)s->width * 1e-9);
    sc_json_key(w, "points");
    sc_json_begin_array(w);
    for (unsigned i = 0; i < s->n; i++) {
        const struct sc_series_point *p = &s->point[i];
        sc_json_begin_array(w);
        sc_json_uint(w, p->good);
        sc_json_uint(w, p->failed);
        sc_json_double(w, p->good ? (double)p->sum / (double)p->good / 1e3 : 0);
        sc_json_double(w, (double)p->max / 1e3);
        sc_json_end_array(w);
    }
    sc_json_end_array(w);
    sc_json_end_object(w);
}

static void one_run(struct sc_json_writer *w, const struct sc_report *r, const struct sc_load_result *x)
{
    sc_json_begin_object(w);
    sc_json_put_str(w, "ended", sc_report_end(x->ended));
    put_double(w, "seconds", x->seconds);
    put_double(w, "rate", sc_load_rate(x));
    sc_json_put_int(w, "good", (int64_t)x->good);
    errors(w, x);
    hist(w, "latency_us", &x->latency);
    buckets(w, "latency_histogram", &x->latency);
    if (r->load->rate > 0) {
        hist(w, "service_us", &x->service);
        buckets(w, "service_histogram", &x->service);
    }
    hist(w, "lag_us", &x->lag);
    put_double(w, "generator_cpu_seconds", x->cpu);
    put_double(w, "generator_busiest", x->cpu_busiest);
    series(w, &x->series);
    sc_json_end_object(w);
}

static void samples(struct sc_json_writer *w, const struct sc_samples *s)
{
    sc_json_key(w, "samples");
    sc_json_begin_object(w);
    sc_json_put_int(w, "interval_ms", s->interval_ms);
    put_double(w, "cpu_mean", sc_samples_mean(s, -1, 0));
    put_double(w, "memory_mean", sc_samples_mean(s, -1, 1));
    sc_json_key(w, "gpus");
    sc_json_begin_array(w);
    for (unsigned i = 0; i < s->ngpus; i++) {
        sc_json_begin_object(w);
        sc_json_put_str(w, "name", s->gpu_name[i]);
        put_double(w, "busy_mean", sc_samples_mean(s, (int)i, 0));
        put_double(w, "memory_mib_mean", sc_samples_mean(s, (int)i, 1));
        put_double(w, "watts_mean", sc_samples_mean(s, (int)i, 2));
        sc_json_end_object(w);
    }
    sc_json_end_array(w);
    sc_json_put_str(w, "driver", s->driver);
    sc_json_key(w, "points"); /* seconds, cpu, memory, then busy, MiB, W of each GPU */
    sc_json_begin_array(w);
    for (unsigned k = 0; k < s->n; k++) {
        sc_json_begin_array(w);
        sc_json_float(w, s->list[k].seconds);
        sc_json_float(w, s->list[k].cpu);
        sc_json_float(w, s->list[k].memory);
        for (unsigned i = 0; i < s->ngpus; i++)
            for (unsigned which = 0; which < 3; which++)
                sc_json_double(w, sc_samples_value(&s->list[k], (int)i, which));
        sc_json_end_array(w);
    }
    sc_json_end_array(w);
    sc_json_end_object(w);
}

static void metrics(struct sc_json_writer *w, const struct sc_samples *s)
{
    sc_json_key(w, "server_metrics");
    sc_json_begin_object(w);
    sc_json_put_int(w, "scrapes", s->scrapes);
    sc_json_put_int(w, "scrapes_failed", s->scrapes_failed);
    sc_json_key(w, "series");
    sc_json_begin_array(w);
    for (unsigned i = 0; i < s->nmetrics; i++) {
        const struct sc_metric_seen *m = &s->metrics[i];
        sc_json_begin_object(w);
        sc_json_put_str(w, "name", m->name);
        put_double(w, "first", m->first);
        put_double(w, "last", m->last);
        put_double(w, "mean", m->sum / m->n);
        put_double(w, "max", m->max);
        sc_json_put_bool(w, "counter", m->counter);
        sc_json_end_object(w);
    }
    sc_json_end_array(w);
    sc_json_end_object(w);
}

static void what(struct sc_json_writer *w, const struct sc_report *r)
{
    const struct sc_load_config *c = r->load;
    char when[40];
    sc_report_time(r->m->began_ms, when, sizeof when);
    sc_json_put_str(w, "subject", r->subject);
    sc_json_put_str(w, "command", r->command);
    sc_json_put_str(w, "began", when);
    sc_json_put_str(w, "ended", sc_report_end(r->m->ended));
    sc_json_put_bool(w, "partial", r->m->ended != SC_LOAD_COMPLETE);
    sc_json_put_str(w, "protocol", sc_load_protocol(c));
    sc_json_put_str(w, "loop", sc_report_loop_name(c));
    sc_json_put_int(w, "threads", c->threads);
    sc_json_put_int(w, "connections", c->connections);
    sc_json_put_int(w, "streams", c->streams);
    if (c->rate > 0)
        put_double(w, "offered", c->rate);
}

void sc_report_json(const struct sc_report *r, struct sc_buf *out)
{
    struct sc_json_writer w;
    const struct sc_load_result *a = &r->m->all;
    struct sc_spread rate = sc_measured_rate(r->m);
    struct sc_msg why = {""};
    bool saturated = sc_load_saturated(r->load, a, &why);
    sc_json_write_init(&w, out, true);
    sc_json_begin_object(&w);
    what(&w, r);
    put_double(&w, "seconds", a->seconds);
    put_double(&w, "rate", rate.median);
    put_double(&w, "rate_low", rate.low);
    put_double(&w, "rate_high", rate.high);
    sc_json_put_int(&w, "good", (int64_t)a->good);
    errors(&w, a);
    sc_json_put_int(&w, "bad_status", a->bad_status);
    sc_json_put_str(&w, "first_wrong", a->wrong);
    sc_json_put_int(&w, "connects", (int64_t)a->connects);
    sc_json_put_int(&w, "bytes_in", (int64_t)a->bytes_in);
    sc_json_put_int(&w, "bytes_out", (int64_t)a->bytes_out);
    hist(&w, "latency_us", &a->latency);
    if (r->load->rate > 0)
        hist(&w, "service_us", &a->service);
    sc_json_put_bool(&w, "saturated", saturated);
    sc_json_put_str(&w, "saturation", why.text);
    sc_json_key(&w, "notes");
    sc_json_begin_array(&w);
    for (unsigned i = 0; i < r->nnotes; i++)
        sc_json_string(&w, sc_span_str(r->notes[i]));
    sc_json_end_array(&w);
    sc_json_key(&w, "machine");
    sc_json_begin_object(&w);
    for (unsigned i = 0; i < r->nfacts; i++)
        sc_json_put_str(&w, r->facts[i].name, r->facts[i].value);
    sc_json_end_object(&w);
    sc_json_key(&w, "runs");
    sc_json_begin_array(&w);
    for (unsigned i = 0; i < r->m->nruns; i++)
        one_run(&w, r, &r->m->runs[i]);
    sc_json_end_array(&w);
    samples(&w, &r->m->samples);
    metrics(&w, &r->m->samples);
    sc_json_end_object(&w);
    (void)!sc_json_write_finish(&w);
    sc_buf_char(out, '\n');
}
