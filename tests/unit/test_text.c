/* SPDX-License-Identifier: ISC */
#include "lib/text.h"

#include "tests/unit/kit.h"

static void
text_in_starts_empty_and_terminated(void **state)
{
	char buf[4] = "xyz";
	struct text t = text_in(buf, sizeof(buf));

	(void)state;
	assert_string_equal(buf, "");
	assert_int_equal(t.len, 0);
	assert_false(t.cut);
}

static void
text_put_fits_to_the_last_byte(void **state)
{
	char buf[5];
	struct text t = text_in(buf, sizeof(buf));

	(void)state;
	text_puts(&t, "ab");
	text_putc(&t, 'c');
	text_putc(&t, 'd');
	assert_false(t.cut);
	assert_string_equal(buf, "abcd");
	assert_int_equal(t.len, 4);
	text_puts(&t, "");
	assert_false(t.cut);
	text_putc(&t, 'e');
	assert_true(t.cut);
	assert_string_equal(buf, "abcd");
}

static void
text_put_too_much_leaves_all_of_it_out(void **state)
{
	char buf[6];
	struct text t = text_in(buf, sizeof(buf));

	(void)state;
	text_puts(&t, "abc");
	text_puts(&t, "def");
	assert_true(t.cut);
	assert_string_equal(buf, "abc");
	/* What would fit comes too late: a text with a hole would be worse than a cut one. */
	text_putc(&t, 'x');
	text_puts(&t, "");
	text_put_u64(&t, 1);
	assert_string_equal(buf, "abc");
}

static void
text_put_a_buffer_of_one_byte_takes_nothing(void **state)
{
	char buf[1] = { 'x' };
	struct text t = text_in(buf, sizeof(buf));

	(void)state;
	text_puts(&t, "");
	assert_false(t.cut);
	text_putc(&t, 'a');
	assert_true(t.cut);
	assert_string_equal(buf, "");
}

static void
text_put_never_writes_beyond_the_buffer(void **state)
{
	struct dice d = dice_new();

	(void)state;
	for (int round = 0; round < kit_rounds(20000); round++) {
		char buf[64], piece[80], want[sizeof(buf)] = "";
		size_t cap = 1 + dice_below(&d, sizeof(buf) - 8);
		struct text t = text_in(buf, cap);
		bool cut = false;

		memset(buf + cap, 0x55, sizeof(buf) - cap);
		for (int i = 0; i < 8; i++) {
			size_t n = dice_below(&d, 12);

			memset(piece, 'a' + i, n);
			piece[n] = '\0';
			text_put(&t, piece, n);
			cut = cut || strlen(want) + n >= cap;
			if (!cut)
				(void)strcat(want, piece);
			assert_string_equal(buf, want);
			assert_int_equal(t.len, strlen(want));
			assert_true(t.cut == cut);
		}
		for (size_t i = cap; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0x55);
	}
}

static void
text_put_u64_matches_printf(void **state)
{
	static const uint64_t edges[] = { 0, 1, 9, 10, 99, 100, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX };
	struct dice d = dice_new();

	(void)state;
	for (size_t i = 0; i < 100000; i++) {
		uint64_t v = i < countof(edges) ? edges[i] : dice_any(&d);
		char got[32], want[32];
		struct text t = text_in(got, sizeof(got));

		text_put_u64(&t, v);
		(void)snprintf(want, sizeof(want), "%llu", (unsigned long long)v);
		assert_string_equal(got, want);
	}
}

static void
text_put_u64_without_room_for_all_digits_is_left_out(void **state)
{
	char buf[20];
	struct text t = text_in(buf, sizeof(buf));

	(void)state;
	text_put_u64(&t, UINT64_MAX); /* 20 digits, 19 fit */
	assert_true(t.cut);
	assert_string_equal(buf, "");
}

static void
text_put_printable_every_byte_is_shown(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		char byte = (char)c, got[8], want[8];
		struct text t = text_in(got, sizeof(got));

		text_put_printable(&t, &byte, 1, 1);
		(void)snprintf(want, sizeof(want), c >= 0x20 && c <= 0x7e && c != '\\' ? "%c" : "\\x%02x", c);
		assert_string_equal(got, want);
		assert_false(t.cut);
	}
}

static void
text_put_printable_takes_no_more_than_asked(void **state)
{
	char buf[64];
	struct text t = text_in(buf, sizeof(buf));

	(void)state;
	text_put_printable(&t, "abcdef", 6, 3);
	assert_string_equal(buf, "abc");
	text_put_printable(&t, "xyz", 2, 100);
	assert_string_equal(buf, "abcxy");
	text_put_printable(&t, "never", 0, 100);
	text_put_printable(&t, "never", 5, 0);
	assert_string_equal(buf, "abcxy");
	assert_false(t.cut);
}

static void
text_put_printable_never_splits_an_escape(void **state)
{
	(void)state;
	for (size_t cap = 1; cap < 14; cap++) {
		char buf[16], want[16] = "";
		struct text t = text_in(buf, cap);

		text_put_printable(&t, "a\n\x1b", 3, 3);
		(void)strcat(want, cap >= 2 ? "a" : "");
		(void)strcat(want, cap >= 6 ? "\\x0a" : "");
		(void)strcat(want, cap >= 10 ? "\\x1b" : "");
		assert_string_equal(buf, want);
		assert_true(t.cut == (cap < 10));
	}
}

static void
text_is_plain_wants_something_and_nothing_hidden(void **state)
{
	static const char *const plain[] = { "a", " ", "~", "a b", "\\", "\"", "[]{}", "0" };
	static const char *const other[] = { "", "\t", "a\n", "\n", "\x7f", "\x1f", "\x80",
		"caf\xc3\xa9", "a\x01z", "\xff" };

	(void)state;
	for (size_t i = 0; i < countof(plain); i++)
		assert_true(text_is_plain(plain[i]));
	for (size_t i = 0; i < countof(other); i++)
		assert_false(text_is_plain(other[i]));
}

static void
text_copy_whole_or_not_at_all(void **state)
{
	char buf[4] = "old";

	(void)state;
	assert_int_equal(text_copy(buf, sizeof(buf), "four"), -ENAMETOOLONG);
	assert_string_equal(buf, "old");
	assert_int_equal(text_copy(buf, sizeof(buf), "new"), 0);
	assert_string_equal(buf, "new");
	assert_int_equal(text_copy(buf, 1, ""), 0);
	assert_string_equal(buf, "");
	assert_int_equal(text_copy(buf, 1, "x"), -ENAMETOOLONG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_in_starts_empty_and_terminated),
		cmocka_unit_test(text_put_fits_to_the_last_byte),
		cmocka_unit_test(text_put_too_much_leaves_all_of_it_out),
		cmocka_unit_test(text_put_a_buffer_of_one_byte_takes_nothing),
		cmocka_unit_test(text_put_never_writes_beyond_the_buffer),
		cmocka_unit_test(text_put_u64_matches_printf),
		cmocka_unit_test(text_put_u64_without_room_for_all_digits_is_left_out),
		cmocka_unit_test(text_put_printable_every_byte_is_shown),
		cmocka_unit_test(text_put_printable_takes_no_more_than_asked),
		cmocka_unit_test(text_put_printable_never_splits_an_escape),
		cmocka_unit_test(text_is_plain_wants_something_and_nothing_hidden),
		cmocka_unit_test(text_copy_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
