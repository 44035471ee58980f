/* SPDX-License-Identifier: ISC */
/*
 * The values that the authors of SipHash published, and what a checksum and a keyed choice need of it: every bit
 * counts, and nobody who lacks the key can tell which texts collide (failure S3).
 */
#include "lib/siphash.h"

#include "tests/unit/kit.h"

#define VECTORS 64
#define KEY0 UINT64_C(0x0706050403020100) /* bytes 00 to 0f */
#define KEY1 UINT64_C(0x0f0e0d0c0b0a0908)

/* Vector n: the bytes 0 to n - 1.  Number 15 is the one worked through in appendix A of the paper. */
static const uint64_t vectors[VECTORS] = {
	UINT64_C(0x726fdb47dd0e0e31), UINT64_C(0x74f839c593dc67fd), UINT64_C(0x0d6c8009d9a94f5a), UINT64_C(0x85676696d7fb7e2d),
	UINT64_C(0xcf2794e0277187b7), UINT64_C(0x18765564cd99a68d), UINT64_C(0xcbc9466e58fee3ce), UINT64_C(0xab0200f58b01d137),
	UINT64_C(0x93f5f5799a932462), UINT64_C(0x9e0082df0ba9e4b0), UINT64_C(0x7a5dbbc594ddb9f3), UINT64_C(0xf4b32f46226bada7),
	UINT64_C(0x751e8fbc860ee5fb), UINT64_C(0x14ea5627c0843d90), UINT64_C(0xf723ca908e7af2ee), UINT64_C(0xa129ca6149be45e5),
	UINT64_C(0x3f2acc7f57c29bdb), UINT64_C(0x699ae9f52cbe4794), UINT64_C(0x4bc1b3f0968dd39c), UINT64_C(0xbb6dc91da77961bd),
	UINT64_C(0xbed65cf21aa2ee98), UINT64_C(0xd0f2cbb02e3b67c7), UINT64_C(0x93536795e3a33e88), UINT64_C(0xa80c038ccd5ccec8),
	UINT64_C(0xb8ad50c6f649af94), UINT64_C(0xbce192de8a85b8ea), UINT64_C(0x17d835b85bbb15f3), UINT64_C(0x2f2e6163076bcfad),
	UINT64_C(0xde4daaaca71dc9a5), UINT64_C(0xa6a2506687956571), UINT64_C(0xad87a3535c49ef28), UINT64_C(0x32d892fad841c342),
	UINT64_C(0x7127512f72f27cce), UINT64_C(0xa7f32346f95978e3), UINT64_C(0x12e0b01abb051238), UINT64_C(0x15e034d40fa197ae),
	UINT64_C(0x314dffbe0815a3b4), UINT64_C(0x027990f029623981), UINT64_C(0xcadcd4e59ef40c4d), UINT64_C(0x9abfd8766a33735c),
	UINT64_C(0x0e3ea96b5304a7d0), UINT64_C(0xad0c42d6fc585992), UINT64_C(0x187306c89bc215a9), UINT64_C(0xd4a60abcf3792b95),
	UINT64_C(0xf935451de4f21df2), UINT64_C(0xa9538f0419755787), UINT64_C(0xdb9acddff56ca510), UINT64_C(0xd06c98cd5c0975eb),
	UINT64_C(0xe612a3cb9ecba951), UINT64_C(0xc766e62cfcadaf96), UINT64_C(0xee64435a9752fe72), UINT64_C(0xa192d576b245165a),
	UINT64_C(0x0a8787bf8ecb74b2), UINT64_C(0x81b3e73d20b49b6f), UINT64_C(0x7fa8220ba3b2ecea), UINT64_C(0x245731c13ca42499),
	UINT64_C(0xb78dbfaf3a8d83bd), UINT64_C(0xea1ad565322a1a0b), UINT64_C(0x60e61c23a3795013), UINT64_C(0x6606d7e446282b93),
	UINT64_C(0x6ca4ecb15c5f91e1), UINT64_C(0x9f626da15c9625f3), UINT64_C(0xe51b38608ef25f57), UINT64_C(0x958a324ceb064572),
};

static void
siphash_appendix_a_of_the_paper_holds(void **state)
{
	uint8_t text[15];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)i;
	assert_true(siphash(text, sizeof(text), KEY0, KEY1) == UINT64_C(0xa129ca6149be45e5));
}

static void
siphash_published_vectors_of_every_length_hold(void **state)
{
	uint8_t text[VECTORS];

	(void)state;
	for (size_t n = 0; n < VECTORS; n++) {
		text[n] = (uint8_t)n;
		assert_true(siphash(text, n, KEY0, KEY1) == vectors[n]);
	}
}

static void
siphash_alignment_does_not_matter(void **state)
{
	uint8_t buf[8 + VECTORS];

	(void)state;
	for (size_t off = 0; off < 8; off++)
		for (size_t n = 0; n < VECTORS; n++) {
			for (size_t i = 0; i < n; i++)
				buf[off + i] = (uint8_t)i;
			assert_true(siphash(buf + off, n, KEY0, KEY1) == vectors[n]);
		}
}

static void
siphash_every_bit_of_text_and_key_counts(void **state)
{
	uint8_t text[40] = { 0 };
	uint64_t plain = siphash(text, sizeof(text), 0, 0);

	(void)state;
	for (size_t bit = 0; bit < 8 * sizeof(text); bit++) {
		text[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_true(siphash(text, sizeof(text), 0, 0) != plain);
		text[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		assert_true(siphash(text, sizeof(text), UINT64_C(1) << bit, 0) != plain);
		assert_true(siphash(text, sizeof(text), 0, UINT64_C(1) << bit) != plain);
	}
	/* Zeros at the end are text too. */
	for (size_t n = 0; n < sizeof(text); n++)
		assert_true(siphash(text, n, 0, 0) != plain);
}

/* Who fell into one bucket with the old key is spread by the new one. */
static void
siphash_collisions_prepared_for_one_key_are_none_for_another(void **state)
{
	enum { BUCKETS = 256, WANTED = 1000 };
	unsigned hit[BUCKETS] = { 0 }, found = 0, most = 0;
	struct dice d = dice_new();
	uint64_t key = dice_u64(&d);

	(void)state;
	for (uint32_t i = 0; found < WANTED; i++) {
		if (siphash(&i, sizeof(i), 0, 0) % BUCKETS != 0)
			continue;
		found++;
		unsigned at = (unsigned)(siphash(&i, sizeof(i), key, ~key) % BUCKETS);
		hit[at]++;
		most = hit[at] > most ? hit[at] : most;
	}
	assert_in_range(most, 1, 40); /* 4 on average; 40 would be once in 10^25 */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_appendix_a_of_the_paper_holds),
		cmocka_unit_test(siphash_published_vectors_of_every_length_hold),
		cmocka_unit_test(siphash_alignment_does_not_matter),
		cmocka_unit_test(siphash_every_bit_of_text_and_key_counts),
		cmocka_unit_test(siphash_collisions_prepared_for_one_key_are_none_for_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
