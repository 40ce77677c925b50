/* Latencies are milliseconds for people and microseconds for programs. CSV has one
 * header and a row for all requests, for reads and for writes; columns are only ever
 * added at the end. */
#include "tool/bench/report.h"

#include "os/sock.h"

#include <ctype.h>
#include <string.h>

static const struct {
    const char *text, *name; /* for people; for programs */
    double q;
} quantiles[] = {
    {"p50", "p50", 0.5},       {"p90", "p90", 0.9}, {"p99", "p99", 0.99},
    {"p99.9", "p99_9", 0.999}, {"max", "max", 1},
};

/* The part of the requests that one row is about. */
struct part {
    const char *name;
    const struct hist *hist;
};

static unsigned parts(const struct options *o, const struct outcome *out, struct part dst[3])
{
    unsigned n = 0;
    dst[n++] = (struct part){"all", &out->all};
    if (o->command == NULL && hist_total(&out->reads))
        dst[n++] = (struct part){"get", &out->reads};
    if (o->command == NULL && hist_total(&out->writes))
        dst[n++] = (struct part){"set", &out->writes};
    return n;
}

static double rate(const struct outcome *out, uint64_t n)
{
    return out->seconds > 0 ? (double)n / out->seconds : 0;
}

static double server_us(const struct outcome *out)
{
    uint64_t n = hist_total(&out->all);
    return n ? out->server_cpu_s * 1e6 / (double)n : 0;
}

/* 1234567 -> 1,234,567 */
static const char *grouped(uint64_t v, char out[32])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lu", (unsigned long)v);
    char *at = out;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return out;
}

static void text_load(const struct options *o, FILE *to)
{
    char address[SOCK_ADDR_MAX];
    options_address(o, address, sizeof address);
    fprintf(to, "%s: %lu connection%s, %lu thread%s, pipeline %lu, ", address, (unsigned long)o->clients,
            o->clients == 1 ? "" : "s", (unsigned long)o->threads, o->threads == 1 ? "" : "s",
            (unsigned long)o->pipeline);
    if (o->rate > 0)
        fprintf(to, "open loop at %.0f requests/s\n\n", o->rate);
    else
        fprintf(to, "closed loop\n\n");
}

static void text_row(const struct outcome *out, const struct part *p, FILE *to)
{
    char total[32];
    fprintf(to, "%-6s %15s %11.0f", p->name, grouped(hist_total(p->hist), total),
            rate(out, hist_total(p->hist)));
    fprintf(to, " %9.3f", hist_mean(p->hist) / 1e6);
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        fprintf(to, " %9.3f", (double)hist_quantile(p->hist, quantiles[i].q) / 1e6);
    fputc('\n', to);
}

static void text_counts(const struct options *o, const struct outcome *out, FILE *to)
{
    char n[32];
    if (out->hits + out->misses) {
        fprintf(to, "%s hits, ", grouped(out->hits, n));
        fprintf(to, "%s misses (%.2f %% hit)\n", grouped(out->misses, n),
                100 * (double)out->hits / (double)(out->hits + out->misses));
    }
    if (out->errors)
        fprintf(to, "%s errors, the first: %s\n", grouped(out->errors, n), out->first_error);
    if (out->unsent)
        fprintf(to,
                "%s requests were due and found no free connection: the server does not keep up with --rate "
                "%.0f\n",
                grouped(out->unsent, n), o->rate);
    if (out->unanswered)
        fprintf(to, "%s requests were never answered\n", grouped(out->unanswered, n));
}

static void text_cpu(const struct options *o, const struct outcome *out, FILE *to)
{
    double cores = out->seconds > 0 ? out->own_cpu_s / out->seconds : 0;
    if (out->server_cpu_known)
        fprintf(to, "server: %.3f us of CPU a request (%.3f user, %.3f system), %.2f cores busy\n",
                server_us(out), server_us(out) * out->server_user_share,
                server_us(out) * (1 - out->server_user_share),
                out->seconds > 0 ? out->server_cpu_s / out->seconds : 0);
    fprintf(to, "this program: %.2f cores busy%s\n", cores,
            o->rate == 0 && cores > 0.97 * (double)o->threads
                ? "; it may be what limits the throughput (--threads)"
                : "");
}

static void report_text(const struct options *o, const struct outcome *out, FILE *to)
{
    struct part rows[3];
    unsigned n = parts(o, out, rows);
    text_load(o, to);
    fprintf(to, "%-6s %15s %11s %9s", "ms", "requests", "per second", "mean");
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        fprintf(to, " %9s", quantiles[i].text);
    fputc('\n', to);
    for (unsigned i = 0; i < n; i++)
        text_row(out, &rows[i], to);
    fprintf(to, "\n%.3f seconds, %.1f MB/s in, %.1f MB/s out\n", out->seconds, rate(out, out->bytes_in) / 1e6,
            rate(out, out->bytes_out) / 1e6);
    text_counts(o, out, to);
    text_cpu(o, out, to);
}

static void report_csv(const struct options *o, const struct outcome *out, FILE *to)
{
    struct part rows[3];
    unsigned n = parts(o, out, rows);
    fprintf(to, "op,requests,seconds,per_second,hits,misses,errors,unsent,unanswered,mean_us");
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        fprintf(to, ",%s_us", quantiles[i].name);
    fprintf(to, ",server_cpu_us,server_user_us,own_cpu_seconds\n");
    for (unsigned i = 0; i < n; i++) {
        const struct hist *h = rows[i].hist;
        fprintf(to, "%s,%lu,%.6f,%.1f,%lu,%lu,%lu,%lu,%lu,%.3f", rows[i].name, (unsigned long)hist_total(h),
                out->seconds, rate(out, hist_total(h)), (unsigned long)out->hits, (unsigned long)out->misses,
                (unsigned long)out->errors, (unsigned long)out->unsent, (unsigned long)out->unanswered,
                hist_mean(h) / 1e3);
        for (size_t k = 0; k < ARRAY_LEN(quantiles); k++)
            fprintf(to, ",%.3f", (double)hist_quantile(h, quantiles[k].q) / 1e3);
        if (out->server_cpu_known)
            fprintf(to, ",%.4f,%.4f", server_us(out), server_us(out) * out->server_user_share);
        else
            fprintf(to, ",,");
        fprintf(to, ",%.3f\n", out->own_cpu_s);
    }
}

static void json_string(const char *s, FILE *to)
{
    fputc('"', to);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            fprintf(to, "\\u%04x", c); /* bytes beyond ASCII appear as Latin-1 */
        else
            fputc(c, to);
    }
    fputc('"', to);
}

static void json_load(const struct options *o, FILE *to)
{
    char address[SOCK_ADDR_MAX];
    options_address(o, address, sizeof address);
    fprintf(to, "  \"load\": {\"server\": ");
    json_string(address, to);
    fprintf(to,
            ", \"protocol\": \"%s\", \"command\": ", o->protocol == SCAN_MEMCACHED ? "memcached" : "resp");
    if (o->command)
        json_string(o->command, to);
    else
        fprintf(to, "null");
    fprintf(to,
            ", \"clients\": %lu, \"threads\": %lu, \"pipeline\": %lu, \"rate\": %.0f, \"gets\": %lu, "
            "\"sets\": %lu, ",
            (unsigned long)o->clients, (unsigned long)o->threads, (unsigned long)o->pipeline, o->rate,
            (unsigned long)o->gets, (unsigned long)o->sets);
    fprintf(to, "\"keys\": %lu, \"value_size\": [%lu, %lu], \"seed\": %lu},\n", (unsigned long)o->keys,
            (unsigned long)o->value_size.low, (unsigned long)o->value_size.high, (unsigned long)o->seed);
}

static void report_json(const struct options *o, const struct outcome *out, FILE *to)
{
    struct part rows[3];
    unsigned n = parts(o, out, rows);
    fprintf(to, "{\n  \"version\": \"" LARDER_VERSION "\",\n");
    json_load(o, to);
    fprintf(to, "  \"requests\": %lu, \"seconds\": %.6f, \"per_second\": %.1f,\n",
            (unsigned long)hist_total(&out->all), out->seconds, rate(out, hist_total(&out->all)));
    fprintf(to, "  \"hits\": %lu, \"misses\": %lu, \"errors\": %lu, \"unsent\": %lu, \"unanswered\": %lu,\n",
            (unsigned long)out->hits, (unsigned long)out->misses, (unsigned long)out->errors,
            (unsigned long)out->unsent, (unsigned long)out->unanswered);
    fprintf(to, "  \"bytes_in\": %lu, \"bytes_out\": %lu, \"interrupted\": %s,\n  \"first_error\": ",
            (unsigned long)out->bytes_in, (unsigned long)out->bytes_out, out->interrupted ? "true" : "false");
    json_string(out->first_error, to);
    fprintf(to, ", \"failure\": ");
    json_string(out->failure, to);
    fprintf(to, ",\n  \"own_cpu_seconds\": %.3f, \"server_cpu_us\": ", out->own_cpu_s);
    if (out->server_cpu_known)
        fprintf(to, "{\"total\": %.4f, \"user\": %.4f}", server_us(out),
                server_us(out) * out->server_user_share);
    else
        fprintf(to, "null");
    fprintf(to, ",\n  \"latency_us\": {");
    for (unsigned i = 0; i < n; i++) {
        const struct hist *h = rows[i].hist;
        fprintf(to, "%s\n    \"%s\": {\"count\": %lu, \"mean\": %.3f", i ? "," : "", rows[i].name,
                (unsigned long)hist_total(h), hist_mean(h) / 1e3);
        for (size_t k = 0; k < ARRAY_LEN(quantiles); k++)
            fprintf(to, ", \"%s\": %.3f", quantiles[k].name, (double)hist_quantile(h, quantiles[k].q) / 1e3);
        fputc('}', to);
    }
    fprintf(to, "\n  }\n}\n");
}

void report(const struct options *o, const struct outcome *out, FILE *to)
{
    switch (o->output) {
    case OUTPUT_TEXT: report_text(o, out, to); break;
    case OUTPUT_CSV: report_csv(o, out, to); break;
    case OUTPUT_JSON: report_json(o, out, to); break;
    }
    fflush(to);
}
