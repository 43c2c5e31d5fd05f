#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "archive/allowed.h"
#include "archive/reach.h"

static struct sc_msg msg;

static bool reached(const char *patterns, const char *url, const char *address)
{
    struct sockaddr_storage a = {0};
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = v4};
        memcpy(&a, &in, sizeof in);
    } else {
        struct sockaddr_in6 in = {.sin6_family = AF_INET6};
        assert_int_equal(inet_pton(AF_INET6, address, &v6), 1);
        in.sin6_addr = v6;
        memcpy(&a, &in, sizeof in);
    }
    msg.text[0] = '\0';
    bool reached = sc_reach_allowed(patterns, url, &a, &msg);
    assert_true(reached == !msg.text[0]);
    return reached;
}

#define ALL SC_ALLOWED_URLS_DEFAULT
#define MODELS "https?://models\\.example/.*"

static void what_a_name_may_stand_for(void **state)
{
    static const struct {
        const char *patterns, *url, *address;
        bool reached;
    } cases[] = {
        /* the world, and the networks of a house */
        {ALL, "http://h/x.mar", "93.184.216.34", true},
        {MODELS, "http://models.example/x.mar", "10.0.0.7", true},
        {MODELS, "http://models.example/x.mar", "fd00::7", true},
        {MODELS, "http://models.example/x.mar", "128.0.0.1", true},
        /* this machine: where the patterns have it, or by its own name */
        {ALL, "http://h/x.mar", "127.0.0.1", true},
        {ALL, "http://h:8000/x.mar", "::1", true},
        {MODELS, "http://models.example/x.mar", "127.0.0.1", false},
        {MODELS, "http://models.example/x.mar", "127.8.8.8", false},
        {MODELS, "http://models.example/x.mar", "::1", false},
        {MODELS, "http://models.example/x.mar", "0.0.0.0", false},
        {MODELS, "http://models.example/x.mar", "::", false},
        {MODELS, "http://models.example/x.mar", "::ffff:127.0.0.1", false},
        {MODELS, "http://models.example/x.mar", "64:ff9b::7f00:1", false},
        {MODELS ",http://127\\.0\\.0\\.1:8000/.*", "http://models.example:8000/x.mar", "127.0.0.1", true},
        {MODELS ",http://127\\.0\\.0\\.1:8000/.*", "http://models.example:8001/x.mar", "127.0.0.1", false},
        {"http://\\[::1\\]/.*", "http://models.example/x.mar", "::1", true},
        {"http://localhost:80/.*", "http://localhost:80/x.mar", "127.0.0.1", true},
        {"http://LOCALHOST/.*", "http://u:p@localhost./x.mar", "127.0.0.1", true},
        {"http://a\\.localhost/.*", "http://a.localhost/x.mar", "::1", true},
        {"http://notlocalhost/.*", "http://notlocalhost/x.mar", "127.0.0.1", false},
        {"http://localhost@h/.*", "http://localhost@h/x.mar", "127.0.0.1", false},
        {"http://h/.*", "http://h/@localhost/x.mar", "127.0.0.1", false},
        /* link-local, metadata: only by address */
        {ALL, "http://h/x.mar", "169.254.169.254", false},
        {ALL, "http://169.254.169.254/x.mar", "169.254.169.254", false},
        {ALL, "http://2852039166/x.mar", "169.254.169.254", false},
        {ALL ",.*", "http://h/x.mar", "169.254.1.1", false},
        {ALL, "http://h/x.mar", "::ffff:169.254.169.254", false},
        {ALL, "http://h/x.mar", "64:ff9b::a9fe:a9fe", false},
        {ALL, "http://h/x.mar", "fe80::1", false},
        {ALL, "http://h/x.mar", "febf::1", false},
        {ALL, "http://h/x.mar", "fec0::1", true},
        {ALL, "http://h/x.mar", "fd00:ec2::254", false},
        {ALL, "http://h/x.mar", "fd20:ce::254", false},
        {ALL, "http://h/x.mar", "100.100.100.200", false},
        {ALL, "http://h/x.mar", "100.100.100.201", true},
        {ALL, "http://h/x.mar", "168.63.129.16", false},
        {MODELS, "http://models.example/x.mar", "169.254.169.254", false},
        {"http://metadata\\.example/.*", "http://metadata.example/x.mar", "169.254.169.254", false},
        {ALL ",http://169\\.254\\.169\\.254/models/.*", "http://169.254.169.254/models/x", "169.254.169.254",
         true},
        {ALL ",http://169\\.254\\.169\\.254/models/.*", "http://169.254.169.254/other/x", "169.254.169.254",
         false},
        {"http://169.254.*", "http://169.254.3.4:81/x.mar?a=b", "169.254.3.4", true},
        /* what is no URL with a host reaches nothing special */
        {ALL, "http:/h/x.mar", "127.0.0.1", false},
        {ALL, "http:", "127.0.0.1", false},
        {ALL, "", "127.0.0.1", false},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        if (reached(cases[i].patterns, cases[i].url, cases[i].address) != cases[i].reached)
            fail_msg("%s, %s: %s: %s", cases[i].patterns, cases[i].url, cases[i].address, msg.text);
}

static void who_is_refused_is_told_the_address(void **state)
{
    (void)state;
    assert_false(reached(ALL, "http://rebind.example/x.mar", "169.254.169.254"));
    assert_string_equal(msg.text, "rebind.example is 169.254.169.254, a link-local or metadata address: "
                                  "allowed_urls does not name that address");
    assert_false(reached(MODELS, "http://models.example/x.mar", "::1"));
    assert_string_equal(msg.text,
                        "models.example is ::1, this machine: allowed_urls does not name that address");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_name_may_stand_for),
        cmocka_unit_test(who_is_refused_is_told_the_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
