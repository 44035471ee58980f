/* SPDX-License-Identifier: ISC */
/*
 * What libconfig's scanner would do wrong is met before it sees the text: so for each text, what it is
 * given, and where each line of that came from.
 */
#include "controller/config_source.h"

#include "controller/config.h"

#include "tests/unit/kit.h"

static struct config_source source;
static struct err why;

static int
from_text(const char *text)
{
	config_source_done(&source);
	why.text[0] = '\0';
	return config_source_text(&source, "t", text, strlen(text), &why);
}

static void
check_text(const char *text, const char *want)
{
	int r = from_text(text);

	if (r < 0)
		fail_msg("%s", why.text);
	assert_string_equal(source.text != NULL ? source.text : "", want);
	/* each line has a place */
	size_t lines = 0;
	for (const char *p = want; *p != '\0'; p++)
		lines += *p == '\n';
	assert_int_equal(source.lines, lines);
	config_source_done(&source);
}

static void
check_refused(const char *text, const char *want)
{
	assert_int_equal(from_text(text), -EINVAL);
	assert_string_equal(why.text, want);
	config_source_done(&source);
}

/* --- numbers --------------------------------------------------------------------------------- */

static void
source_numbers_beyond_32_bits_get_their_suffix(void **state)
{
	static const struct {
		const char *number, *want;
	} rows[] = {
		{ "0", "0" }, { "2147483647", "2147483647" }, { "2147483648", "2147483648L" },
		{ "-2147483648", "-2147483648" }, { "-2147483649", "-2147483649L" },
			{ "+99999999999", "+99999999999L" },
		{ "99999999999", "99999999999L" }, { "9223372036854775807", "9223372036854775807L" },
		{ "-9223372036854775808", "-9223372036854775808L" }, { "99999999999L", "99999999999L" },
		{ "5L", "5L" }, { "5LL", "5LL" }, { "99999999999LL", "99999999999LL" },
		{ "00000000000000000000000000007", "00000000000000000000000000007" },
		{ "0x7fffffff", "0x7fffffff" }, { "0x80000000", "0x80000000L" }, { "0XFFFFFFFFFF",
			"0XFFFFFFFFFFL" },
		{ "0x7fffffffffffffff", "0x7fffffffffffffffL" }, { "0xFFFFFFFFL", "0xFFFFFFFFL" },
		/* not whole: left as they are */
		{ "1.5", "1.5" }, { "99999999999.5", "99999999999.5" }, { "1e99999999999", "1e99999999999" },
		{ "1.99999999999", "1.99999999999" }, { ".99999999999", ".99999999999" },
		{ "-.99999999999", "-.99999999999" }, { "99999999999.", "99999999999." },
		{ "1.5e-99999999999", "1.5e-99999999999" }, { "1E+99999999999", "1E+99999999999" },
	};

	(void)state;
	for (size_t i = 0; i < countof(rows); i++) {
		char text[128], want[128];

		kit_format(text, sizeof(text), "a = %s;\n", rows[i].number);
		kit_format(want, sizeof(want), "a = %s;\n", rows[i].want);
		check_text(text, want);
		kit_format(text, sizeof(text), "a = [%s,%s];\n", rows[i].number, rows[i].number);
		kit_format(want, sizeof(want), "a = [%s,%s];\n", rows[i].want, rows[i].want);
		check_text(text, want);
	}
}

static void
source_numbers_beyond_64_bits_are_an_error(void **state)
{
	static const char *const numbers[] = {
		"9223372036854775808", "-9223372036854775809", "99999999999999999999", "18446744073709551615",
		"0x8000000000000000", "0xffffffffffffffffff", "99999999999999999999L",
		"99999999999999999999999999999999999999999999999999",
	};

	(void)state;
	for (size_t i = 0; i < countof(numbers); i++) {
		char text[128], want[200];

		kit_format(text, sizeof(text), "\n\na = %s;\n", numbers[i]);
		kit_format(want, sizeof(want), "t:3: %s: a whole number must fit into 64 bits", numbers[i]);
		check_refused(text, want);
	}
}

static void
source_numbers_in_names_texts_and_comments_are_left_alone(void **state)
{
	static const char text[] =
		"a99999999999999999999 = 1; # 99999999999999999999\n"
		"b-99999999999_99999999999 = \"99999999999999999999 \\\" 99999999999\"; // 99999999999\n"
		"c*99999999999 = /* 99999999999\n99999999999999999999999 */ 5;\n"
		"d = \"two\n99999999999 lines\";\n";

	(void)state;
	check_text(text, text);
}

/* --- texts and comments ---------------------------------------------------------------------- */

static void
source_plain_text_passes_unchanged(void **state)
{
	static const char *const texts[] = {
		"", "\n", "\n\n\n", "a = 1;\n", "# only a comment\n", "// only a comment\n",
			"/* */\n", "/**/ /***/\n",
		"a = \"\";\n", "a = \"\\\\\";\n", "a = \"\\\"\";\n",
			"a = \"/* # // @include */\";\n", "/* \" */ a = 1; # \" \n",
		"# /*\na = 1;\n", "a = \"#\"; // /* \n", "a : { b = (1, 2, \"x\"); };\r\n", "\t a=1;\f\n",
		"caf\xc3\xa9\n", "# caf\xe9 \xff\n", "/* @include \"x\" */\n", "\"@include\"\n",
	};

	(void)state;
	for (size_t i = 0; i < countof(texts); i++)
		check_text(texts[i], texts[i]);
}

static void
source_a_last_line_without_its_end_gets_one(void **state)
{
	(void)state;
	check_text("a = 1;", "a = 1;\n");
	check_text("a = 1;\n#", "a = 1;\n#\n");
	check_text("5", "5\n");
	check_text("99999999999", "99999999999L\n");
}

/* Left open,
	it would swallow what follows in the file that includes this one; and what we take for text, libconfig would
 * read as directives. */
static void
source_a_text_or_comment_that_does_not_end_is_an_error(void **state)
{
	(void)state;
	check_refused("a = 1;\n/* no end\n\n", "t:2: a comment that begins here does not end");
	check_refused("/*/", "t:1: a comment that begins here does not end");
	check_refused("/*", "t:1: a comment that begins here does not end");
	check_refused("a = 1;\nb = \"no end\n\n", "t:2: a text that begins here does not end");
	check_refused("\"", "t:1: a text that begins here does not end");
	check_refused("\"\\", "t:1: a text that begins here does not end");
	check_refused("\"\\\"", "t:1: a text that begins here does not end");
}

static void
source_a_nul_byte_is_an_error_with_its_line(void **state)
{
	static const char text[] = "a = 1;\nb = 2;\nc = \"x\0y\";\n";

	(void)state;
	assert_int_equal(config_source_text(&source, "t", text, sizeof(text) - 1, &why), -EINVAL);
	assert_string_equal(why.text, "t:3: a NUL byte: this is not a text file");
	config_source_done(&source);
	assert_int_equal(config_source_text(&source, "t", "", 1, &why), -EINVAL);
	assert_string_equal(why.text, "t:1: a NUL byte: this is not a text file");
	config_source_done(&source);
}

static void
source_where_tells_the_line(void **state)
{
	char where[300];

	(void)state;
	assert_int_equal(from_text("a\nb\nc\n"), 0);
	for (unsigned i = 1; i <= 3; i++) {
		char want[16];

		config_source_where(&source, i, where, sizeof(where));
		kit_format(want, sizeof(want), "t:%u", i);
		assert_string_equal(where, want);
	}
	/* libconfig may name the line behind the last, or none */
	config_source_where(&source, 4, where, sizeof(where));
	assert_string_equal(where, "t:4");
	config_source_where(&source, 0, where, sizeof(where));
	assert_string_equal(where, "t:0");
	config_source_done(&source);
	config_source_done(&source);
}

/* --- includes -------------------------------------------------------------------------------- */

static char dir[KIT_PATH_MAX];

static int
make_tree(void **state)
{
	(void)state;
	kit_tree(dir);
	return 0;
}

static int
remove_tree(void **state)
{
	(void)state;
	config_source_done(&source);
	kit_remove(dir);
	return 0;
}

static int
from_file(const char *name)
{
	char path[KIT_PATH_MAX];

	config_source_done(&source);
	why.text[0] = '\0';
	return config_source_read(&source, kit_path(path, dir, name), -1, &why);
}

static void
check_where(unsigned line, const char *name, unsigned want_line)
{
	char where[KIT_PATH_MAX], want[KIT_PATH_MAX];

	config_source_where(&source, line, where, sizeof(where));
	kit_format(want, sizeof(want), "%s/%s:%u", dir, name, want_line);
	assert_string_equal(where, want);
}

static void
check_file_refused(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The message begins with the directory; `fmt` is what follows it. */
static void
check_file_refused(const char *name, const char *fmt, ...)
{
	char want[KIT_PATH_MAX], text[KIT_PATH_MAX];
	va_list ap;

	assert_true(from_file(name) < 0);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kit_format(want, sizeof(want), "%s/%s", dir, text);
	assert_string_equal(why.text, want);
}

static void
source_included_files_are_put_in_place(void **state)
{
	(void)state;
	kit_puts(dir, "main",
		"a = 1;\n@include \"one\"\nb = 2;\n \t@include\t \"two\"\nc = 3;\n@include\"two\"");
	kit_puts(dir, "one", "x = 1;\ny = 2;\n");
	kit_puts(dir, "two", "z = 1;");
	assert_int_equal(from_file("main"), 0);
	assert_string_equal(source.text, "a = 1;\nx = 1;\ny = 2;\n\nb = 2;\n \tz = 1;\n\nc = 3;\nz = 1;\n\n");
}

static void
source_line_numbers_survive_includes(void **state)
{
	static const struct {
		unsigned line;
		const char *file;
		unsigned at;
	} rows[] = {
		{ 1, "main", 1 }, { 2, "one", 1 }, { 3, "two", 1 }, { 4, "two", 2 }, { 5, "one",
			2 }, { 6, "one", 3 },
		{ 7, "main", 2 }, { 8, "main", 3 }, { 9, "main", 4 }, { 10, "main", 5 },
	};

	(void)state;
	kit_puts(dir, "main", "first\n@include \"one\"\nthird /* a\ncomment */\n@include \"empty\"\n");
	kit_puts(dir, "one", "one 1\n@include \"two\"\none 3\n");
	kit_puts(dir, "two", "two 1\ntwo 2");
	kit_puts(dir, "empty", "");
	assert_int_equal(from_file("main"), 0);
	assert_string_equal(source.text, "first\none 1\ntwo 1\ntwo 2\n\none 3\n\nthird /* a\ncomment */\n\n");
	assert_int_equal(source.lines, countof(rows));
	for (size_t i = 0; i < countof(rows); i++)
		check_where(rows[i].line, rows[i].file, rows[i].at);
}

static void
source_include_names_are_relative_to_the_including_file(void **state)
{
	char text[KIT_PATH_MAX];

	(void)state;
	kit_mkdir(dir, "conf.d");
	kit_puts(dir, "main", "@include \"conf.d/one\"\n");
	kit_puts(dir, "conf.d/one", "@include \"two\"\n@include \"../three\"\n");
	kit_puts(dir, "conf.d/two", "in = 2;\n");
	kit_puts(dir, "three", "in = 3;\n");
	assert_int_equal(from_file("main"), 0);
	assert_string_equal(source.text, "in = 2;\n\nin = 3;\n\n\n");
	kit_format(text, sizeof(text), "@include \"%s/three\"\n", dir);
	kit_puts(dir, "conf.d/absolute", text);
	assert_int_equal(from_file("conf.d/absolute"), 0);
	assert_string_equal(source.text, "in = 3;\n\n");
}

/* Each of these ends the whole process, or hangs it, when libconfig meets it itself. */
static void
source_includes_that_are_no_files_are_errors_at_their_line(void **state)
{
	static const struct {
		const char *name, *why;
	} rows[] = {
		{ ".", "not a regular file" }, { "/", "not a regular file" }, { "..", "not a regular file" },
		{ "sub", "not a regular file" }, { "", "not a regular file" }, { "fifo", "not a regular file" },
		{ "/dev/null", "not a regular file" }, { "/dev/zero", "not a regular file" },
		{ "missing", "No such file or directory" }, { "sub/missing/x", "No such file or directory" },
		{ "main/x", "Not a directory" }, { "loop", "Too many levels of symbolic links" },
		{ "large", "longer than 262144 bytes" }, { "sparse", "longer than 262144 bytes" },
	};
	char path[KIT_PATH_MAX], large[CONFIG_FILE_MAX + 1];

	(void)state;
	kit_mkdir(dir, "sub");
	assert_int_equal(mkfifo(kit_path(path, dir, "fifo"), 0644), 0);
	assert_int_equal(symlink("loop", kit_path(path, dir, "loop")), 0);
	memset(large, '#', sizeof(large));
	kit_write(dir, "large", large, sizeof(large), 0644);
	kit_puts(dir, "sparse", "");
	assert_int_equal(truncate(kit_path(path, dir, "sparse"), (off_t)10 << 30), 0);
	for (size_t i = 0; i < countof(rows); i++) {
		char text[KIT_PATH_MAX];

		kit_format(text, sizeof(text), "a = 1;\n\n@include \"%s\"\n", rows[i].name);
		kit_puts(dir, "main", text);
		if (rows[i].name[0] == '/')
			check_file_refused("main", "main:3: @include %s: %s", rows[i].name, rows[i].why);
		else
			check_file_refused("main", "main:3: @include %s/%s: %s", dir, rows[i].name,
				rows[i].why);
	}
}

static void
source_errors_in_an_included_file_name_that_file(void **state)
{
	(void)state;
	kit_puts(dir, "main", "a = 1;\n@include \"one\"\n");
	kit_puts(dir, "one", "\n@include \"two\"\n");
	kit_puts(dir, "two", "\n\nb = 99999999999999999999;\n");
	check_file_refused("main", "two:3: 99999999999999999999: a whole number must fit into 64 bits");
	kit_puts(dir, "two", "\n@include \"missing\"\n");
	check_file_refused("main", "two:2: @include %s/missing: No such file or directory", dir);
	kit_write(dir, "two", "x\n\0", 3, 0644);
	check_file_refused("main", "two:2: a NUL byte: this is not a text file");
	kit_puts(dir, "two", "/* open");
	check_file_refused("main", "two:1: a comment that begins here does not end");
}

/* Our scan and libconfig's must agree where a comment or a text ends; and an @include is met by us or by nobody. */
static void
source_no_include_gets_through_to_libconfig(void **state)
{
	static const char *const texts[] = {
		"@include \"empty\" @include \"/\"\n", "@include \"lines\" @include \"/\"\n",
			"@include \"empty\"@include \"/\"\n",
		"a = 1; @include \"/\"\n", "/* */ @include \"/\"\n", "\"\" @include \"/\"\n",
			"@Include \"/\"\n",
		"@ include \"/\"\n", "@\n", "a = @;\n", "@includes \"/\"\n",
	};

	(void)state;
	kit_puts(dir, "empty", "");
	kit_puts(dir, "lines", "\n\n");
	for (size_t i = 0; i < countof(texts); i++) {
		kit_puts(dir, "main", texts[i]);
		if (strncmp(texts[i], "@includes", 9) == 0)
			check_file_refused("main", "main:1: @include: allowed is @include \"FILE\"");
		else
			check_file_refused("main",
				"main:1: @: allowed is @include \"FILE\", on a line of its own");
	}
}

static void
source_malformed_includes_are_errors(void **state)
{
	static const char *const texts[] = {
		"@include\n", "@include", "@include \"", "@include \"x", "@include \"x\n\"",
			"@include x\n", "@include 'x'\n",
		"@include <x>\n", "@include \t \n",
	};

	(void)state;
	for (size_t i = 0; i < countof(texts); i++) {
		kit_puts(dir, "main", texts[i]);
		check_file_refused("main", "main:1: @include: allowed is @include \"FILE\"");
	}
	char text[400];
	memset(text, 'x', sizeof(text));
	memcpy(text, "@include \"", 10);
	memcpy(text + sizeof(text) - 3, "\"\n", 3);
	kit_puts(dir, "main", text);
	check_file_refused("main", "main:1: @include: file name too long");
}

static void
source_a_file_that_includes_itself_ends_at_the_depth(void **state)
{
	(void)state;
	kit_puts(dir, "main", "\n@include \"main\"\n");
	check_file_refused("main",
		"main:2: @include \"%s/main\": includes go deeper than 8 or are more than 32", dir);
	kit_puts(dir, "a", "@include \"b\"\n");
	kit_puts(dir, "b", "\n\n@include \"a\"\n");
	assert_int_equal(from_file("a"), -EINVAL);
	assert_non_null(strstr(why.text, "includes go deeper than 8"));
}

static void
source_depth_and_number_of_files_are_limited(void **state)
{
	char text[4096] = "";

	(void)state;
	for (int i = 0; i < 10; i++) {
		char name[16], line[64];

		kit_format(name, sizeof(name), "deep%d", i);
		kit_format(line, sizeof(line), "level = %d;\n@include \"deep%d\"\n", i, i + 1);
		kit_puts(dir, name, line);
	}
	kit_puts(dir, "deep8", "last = 8;\n"); /* eight below the first */
	assert_int_equal(from_file("deep0"), 0);
	kit_puts(dir, "deep8", "@include \"deep9\"\n");
	check_file_refused("deep0",
		"deep8:1: @include \"%s/deep9\": includes go deeper than 8 or are more than 32", dir);

	kit_puts(dir, "leaf", "x\n");
	for (int i = 0; i < CONFIG_SOURCE_FILES - 1; i++)
		(void)strcat(text, "@include \"leaf\"\n");
	kit_puts(dir, "wide", text);
	assert_int_equal(from_file("wide"), 0);
	assert_int_equal(source.files, CONFIG_SOURCE_FILES);
	(void)strcat(text, "@include \"leaf\"\n");
	kit_puts(dir, "wide", text);
	check_file_refused("wide",
		"wide:32: @include \"%s/leaf\": includes go deeper than 8 or are more than 32", dir);
}

static void
source_all_files_together_are_limited_in_size(void **state)
{
	char text[CONFIG_FILE_MAX];

	(void)state;
	memset(text, '#', sizeof(text));
	text[sizeof(text) - 1] = '\n';
	kit_write(dir, "full", text, sizeof(text), 0644);
	assert_int_equal(from_file("full"), 0);
	assert_int_equal(source.len, CONFIG_FILE_MAX);
	kit_puts(dir, "main", "\n@include \"full\"\n");
	assert_true(from_file("main") < 0);
	assert_non_null(strstr(why.text, "with what it includes, longer than 262144 bytes"));
	/* an L that does not fit any more */
	for (size_t i = 0; i + 13 <= sizeof(text); i += 13)
		memcpy(text + i, "99999999999,\n", 13);
	kit_write(dir, "numbers", text, sizeof(text), 0644);
	assert_true(from_file("numbers") < 0);
	assert_non_null(strstr(why.text, "longer than 262144 bytes"));
}

/* --- the file itself ------------------------------------------------------------------------- */

static void
source_the_file_itself_is_looked_at_in_the_same_way(void **state)
{
	char path[KIT_PATH_MAX], name[300];

	(void)state;
	assert_int_equal(from_file("missing"), -ENOENT);
	assert_int_equal(mkfifo(kit_path(path, dir, "fifo"), 0644), 0);
	assert_int_equal(from_file("fifo"), -EINVAL);
	assert_non_null(strstr(why.text, "fifo: not a regular file"));
	assert_int_equal(from_file("."), -EINVAL);
	kit_puts(dir, "empty", "");
	assert_int_equal(from_file("empty"), 0);
	assert_int_equal(source.len, 0);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(config_source_read(&source, name, -1, &why), -ENAMETOOLONG);
}

/* The parent has opened it, with its rights; the name is for messages and for includes. */
static void
source_an_open_file_is_read_from_its_descriptor(void **state)
{
	char path[KIT_PATH_MAX], named[KIT_PATH_MAX], where[KIT_PATH_MAX];

	(void)state;
	kit_puts(dir, "open", "a = 1;\n@include \"beside\"\n");
	kit_puts(dir, "beside", "b = 1;\n");
	int fd = open(kit_path(path, dir, "open"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(config_source_read(&source, kit_path(named, dir, "name"), fd, &why), 0);
	assert_string_equal(source.text, "a = 1;\nb = 1;\n\n");
	config_source_where(&source, 1, where, sizeof(where));
	assert_non_null(strstr(where, "/name:1"));
	assert_int_equal(close(fd), 0); /* it stayed open */
}

static void
source_an_open_file_that_has_grown_is_cut_off_with_an_error(void **state)
{
	char path[KIT_PATH_MAX];

	(void)state;
	kit_puts(dir, "file", "");
	int fd = open(kit_path(path, dir, "file"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(truncate(path, CONFIG_FILE_MAX + 1), 0);
	assert_int_equal(config_source_read(&source, path, fd, &why), -EFBIG);
	(void)close(fd);
	/* not readable at all */
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(config_source_read(&source, path, fd, &why), -EBADF);
	(void)close(fd);
}

#define WITH_TREE(test) cmocka_unit_test_setup_teardown(test, make_tree, remove_tree)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(source_numbers_beyond_32_bits_get_their_suffix),
		cmocka_unit_test(source_numbers_beyond_64_bits_are_an_error),
		cmocka_unit_test(source_numbers_in_names_texts_and_comments_are_left_alone),
		cmocka_unit_test(source_plain_text_passes_unchanged),
		cmocka_unit_test(source_a_last_line_without_its_end_gets_one),
		cmocka_unit_test(source_a_text_or_comment_that_does_not_end_is_an_error),
		cmocka_unit_test(source_a_nul_byte_is_an_error_with_its_line),
		cmocka_unit_test(source_where_tells_the_line),
		WITH_TREE(source_included_files_are_put_in_place),
		WITH_TREE(source_line_numbers_survive_includes),
		WITH_TREE(source_include_names_are_relative_to_the_including_file),
		WITH_TREE(source_includes_that_are_no_files_are_errors_at_their_line),
		WITH_TREE(source_errors_in_an_included_file_name_that_file),
		WITH_TREE(source_no_include_gets_through_to_libconfig),
		WITH_TREE(source_malformed_includes_are_errors),
		WITH_TREE(source_a_file_that_includes_itself_ends_at_the_depth),
		WITH_TREE(source_depth_and_number_of_files_are_limited),
		WITH_TREE(source_all_files_together_are_limited_in_size),
		WITH_TREE(source_the_file_itself_is_looked_at_in_the_same_way),
		WITH_TREE(source_an_open_file_is_read_from_its_descriptor),
		WITH_TREE(source_an_open_file_that_has_grown_is_cut_off_with_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
