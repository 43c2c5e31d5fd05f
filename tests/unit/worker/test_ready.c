/* Batches that are made of waiting requests: shares, turns, bounds. */
#include "test.h"

#include <stdlib.h>

#include "worker/executor_private.h"

static struct sconce_request *request(struct sc_ready *q, uint32_t n, uint32_t cost)
{
    struct sconce_request *r = calloc(1, sizeof *r);
    uint32_t *costs = calloc(n + 1, sizeof *costs);
    for (uint32_t i = 0; i < n; i++)
        costs[i] = cost;
    assert_true(sc_items_set(r, n, costs));
    free(costs);
    if (q)
        sc_ready_push(q, r);
    return r;
}

static void drop(struct sconce_request *r)
{
    sc_items_free(r);
    free(r);
}

static uint64_t cost_of(const struct sconce_slice *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->n; i++)
        sum += s->items[i].cost;
    return sum;
}

static void long_request_shares_with_those_behind_it(void **state)
{
    (void)state;
    struct sc_ready q;
    struct sconce_slice out[8];
    sc_ready_init(&q);
    struct sconce_request *list = request(&q, 1000, 10), *a = request(&q, 1, 10), *b = request(&q, 1, 10);
    assert_int_equal(q.cost, 10020);
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 3);
    /* A third for each, and what the short ones leave goes to the list. */
    assert_ptr_equal(out[0].request, list);
    assert_int_equal(out[0].n, 8);
    assert_ptr_equal(out[1].request, a);
    assert_ptr_equal(out[2].request, b);
    assert_int_equal(q.waiting.n, 1);
    assert_int_equal(q.cost, 9920);
    assert_int_equal(q.next, 10);
    /* Alone it has the whole batch. */
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 1);
    assert_int_equal(out[0].n, 10);
    assert_int_equal(out[0].items[0].index, 8);
    drop(list);
    drop(a);
    drop(b);
}

static void every_item_comes_once(void **state)
{
    (void)state;
    struct sc_ready q;
    struct sconce_slice out[8];
    struct sconce_request *all[3];
    unsigned seen[3][100] = {{0}};
    size_t n;
    sc_ready_init(&q);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t costs[100];
        for (unsigned k = 0; k < 100; k++)
            costs[k] = 1 + (k * 37 + i) % 23;
        all[i] = calloc(1, sizeof *all[i]);
        assert_true(sc_items_set(all[i], 100, costs));
        sc_ready_push(&q, all[i]);
    }
    uint32_t last[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    while ((n = sc_ready_take(&q, 50, 8, out)) > 0) {
        uint64_t cost = 0;
        for (size_t i = 0; i < n; i++) {
            unsigned r = out[i].request == all[0] ? 0 : out[i].request == all[1] ? 1 : 2;
            cost += cost_of(&out[i]);
            for (uint32_t k = 0; k < out[i].n; k++) {
                seen[r][out[i].items[k].index]++;
                assert_true(out[i].items[k].cost <= last[r]); /* the dearest first */
                last[r] = out[i].items[k].cost;
            }
        }
        assert_true(cost <= 50);
    }
    assert_int_equal(q.cost, 0);
    assert_int_equal(q.next, 0);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < 100; k++)
            assert_int_equal(seen[i][k], 1);
        drop(all[i]);
    }
}

static void what_does_not_fit_keeps_its_turn(void **state)
{
    (void)state;
    struct sc_ready q;
    struct sconce_slice out[8];
    sc_ready_init(&q);
    struct sconce_request *a = request(&q, 1, 60), *b = request(&q, 1, 80), *c = request(&q, 1, 40);
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 2);
    assert_ptr_equal(out[0].request, a);
    assert_ptr_equal(out[1].request, c);
    assert_ptr_equal(sc_requests_first(&q.waiting), b);
    struct sconce_request *d = request(&q, 1, 30);
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 1);
    assert_ptr_equal(out[0].request, b);
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 1);
    assert_ptr_equal(out[0].request, d);
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 0);
    drop(a);
    drop(b);
    drop(c);
    drop(d);
}

static void item_over_the_limit_is_alone(void **state)
{
    (void)state;
    struct sc_ready q;
    struct sconce_slice out[8];
    sc_ready_init(&q);
    struct sconce_request *big = request(&q, 2, 500), *a = request(&q, 1, 1);
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 1);
    assert_ptr_equal(out[0].request, big);
    assert_int_equal(out[0].n, 1);
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 1);
    assert_ptr_equal(out[0].request, a);
    assert_int_equal(sc_ready_take(&q, 100, 8, out), 1);
    assert_ptr_equal(out[0].request, big);
    assert_int_equal(q.waiting.n, 0);
    drop(big);
    drop(a);
}

static void number_of_requests_is_bounded(void **state)
{
    (void)state;
    struct sc_ready q;
    struct sconce_slice out[2];
    struct sconce_request *all[5];
    sc_ready_init(&q);
    for (unsigned i = 0; i < 5; i++)
        all[i] = request(&q, 4, 5);
    assert_int_equal(sc_ready_take(&q, 40, 2, out), 2);
    assert_int_equal(out[0].n + out[1].n, 8); /* the share is of two, not of five */
    assert_ptr_equal(sc_requests_first(&q.waiting), all[2]);
    for (unsigned i = 0; i < 5; i++)
        drop(all[i]);
}

static struct sconce_request *of_priority(struct sc_ready *q, unsigned flags, int64_t arrival_ns, uint32_t n)
{
    struct sconce_request *r = request(NULL, n, 10);
    r->work.flags = flags;
    r->work.arrival_ns = arrival_ns;
    sc_ready_push(q, r);
    return r;
}

/* High is as if a second older, low as if a second younger: each is overtaken for so long only. */
static void priorities_are_a_second_of_age(void **state)
{
    (void)state;
    const int64_t s = SC_PRIORITY_NS, now = 100 * s;
    struct sc_ready q;
    struct sconce_slice out[8];
    sc_ready_init(&q);
    struct sconce_request *low = of_priority(&q, SC_SUBMIT_LOW, now, 1),
                          *old = of_priority(&q, 0, now - 2 * s, 1),
                          *normal = of_priority(&q, 0, now + s / 4, 1),
                          *high = of_priority(&q, SC_SUBMIT_HIGH, now + s / 2, 1),
                          *second = of_priority(&q, SC_SUBMIT_HIGH, now + s / 2, 1),
                          *later = of_priority(&q, 0, now + s + 1, 1);
    struct sconce_request *order[] = {old, high, second, normal, low, later};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(sc_ready_take(&q, 10, 8, out), 1);
        assert_ptr_equal(out[0].request, order[i]);
        drop(order[i]);
    }
    assert_int_equal(q.waiting.n, 0);
    /* A list of high priority shares with others and is first again. */
    struct sconce_request *list = of_priority(&q, SC_SUBMIT_HIGH, now, 4), *one = of_priority(&q, 0, now, 1);
    assert_int_equal(sc_ready_take(&q, 20, 8, out), 2);
    assert_ptr_equal(out[0].request, list);
    assert_ptr_equal(out[1].request, one);
    drop(one);
    one = of_priority(&q, 0, now, 1);
    assert_int_equal(sc_ready_take(&q, 10, 8, out), 1);
    assert_ptr_equal(out[0].request, list);
    drop(one);
    drop(list);
}

static void suspect_is_alone(void **state)
{
    (void)state;
    struct sc_ready q;
    struct sconce_slice out[4];
    sc_ready_init(&q);
    struct sconce_request *a = request(&q, 1, 1), *s = request(NULL, 30, 1), *b = request(&q, 1, 1);
    s->work.flags = SC_SUBMIT_ALONE;
    sc_ready_push(&q, s);
    struct sconce_request *c = request(&q, 1, 1);
    assert_int_equal(sc_ready_take(&q, 20, 4, out), 2);
    assert_int_equal(sc_ready_take(&q, 20, 4, out), 1);
    assert_ptr_equal(out[0].request, s);
    assert_int_equal(out[0].n, 20);
    assert_int_equal(sc_ready_take(&q, 20, 4, out), 1);
    assert_ptr_equal(out[0].request, c);
    assert_int_equal(sc_ready_take(&q, 20, 4, out), 1);
    assert_int_equal(out[0].n, 10);
    drop(a);
    drop(b);
    drop(c);
    drop(s);
}

static void empty_request_gets_an_empty_slice(void **state)
{
    (void)state;
    struct sc_ready q;
    struct sconce_slice out[4];
    sc_ready_init(&q);
    struct sconce_request *none = request(&q, 0, 0), *a = request(&q, 1, 7);
    assert_int_equal(sc_ready_take(&q, 20, 4, out), 2);
    assert_ptr_equal(out[0].request, none);
    assert_int_equal(out[0].n, 0);
    assert_int_equal(sc_ready_take(&q, 20, 4, out), 0);
    drop(none);
    drop(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_request_shares_with_those_behind_it),
        cmocka_unit_test(every_item_comes_once),
        cmocka_unit_test(what_does_not_fit_keeps_its_turn),
        cmocka_unit_test(item_over_the_limit_is_alone),
        cmocka_unit_test(number_of_requests_is_bounded),
        cmocka_unit_test(priorities_are_a_second_of_age),
        cmocka_unit_test(suspect_is_alone),
        cmocka_unit_test(empty_request_gets_an_empty_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
