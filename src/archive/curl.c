#include "archive/curl.h"

#include <dlfcn.h>
#include <pthread.h>

/* The beginning of curl_version_info_data; every version has it. */
struct version_info {
    int age;
    const char *version;
    unsigned version_num;
};

static struct sc_curl curl;
static bool loaded;

static void load(void)
{
    /* OpenSSL's and GnuTLS's flavour have names of their own. */
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    void *lib = NULL;
    for (size_t i = 0; !lib && i < SC_COUNT(names); i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return;
    int (*global_init)(long) = (int (*)(long))dlsym(lib, "curl_global_init");
    const struct version_info *(*version_info)(int) =
        (const struct version_info *(*)(int))dlsym(lib, "curl_version_info");
    curl.init = (void *(*)(void))dlsym(lib, "curl_easy_init");
    curl.setopt = (int (*)(void *, int, ...))dlsym(lib, "curl_easy_setopt");
    curl.perform = (int (*)(void *))dlsym(lib, "curl_easy_perform");
    curl.getinfo = (int (*)(void *, int, ...))dlsym(lib, "curl_easy_getinfo");
    curl.cleanup = (void (*)(void *))dlsym(lib, "curl_easy_cleanup");
    curl.strerror = (const char *(*)(int))dlsym(lib, "curl_easy_strerror");
    curl.slist_append = (void *(*)(void *, const char *))dlsym(lib, "curl_slist_append");
    curl.slist_free = (void (*)(void *))dlsym(lib, "curl_slist_free_all");
    loaded = global_init && version_info && curl.init && curl.setopt && curl.perform && curl.getinfo &&
             curl.cleanup && curl.strerror && curl.slist_append && curl.slist_free &&
             global_init(3 /* all */) == 0;
    if (loaded)
        curl.version = version_info(0)->version_num;
}

int sc_curl_get(const struct sc_curl **out, struct sc_msg *msg)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (!loaded)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "libcurl is not installed (libcurl.so.4): it is needed for http and https URLs");
    *out = &curl;
    return 0;
}
