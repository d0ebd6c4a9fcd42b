/*
 * Every example of the TOML 1.0.0 specification, in its order, up to dates, and what it says in
 * words.
 */
#include "test/unit/toml_fixture.h"

/* ---- Comment, Key/Value Pair, Keys ---- */

static void test_keys(void **state)
{
        static const struct valid cases[] = {
                {"", "{}"},
                {"# This is a full-line comment\n"
                 "key = \"value\"  # This is a comment at the end of a line\n"
                 "another = \"# This is not a comment\"\n",
                 "{\"key\":\"value\",\"another\":\"# This is not a comment\"}"},
                {"key = \"value\"", "{\"key\":\"value\"}"},
                {"key = \"value\"\nbare_key = \"value\"\nbare-key = \"value\"\n1234 = \"value\"\n",
                 "{\"key\":\"value\",\"bare_key\":\"value\",\"bare-key\":\"value\",\"1234\":"
                 "\"value\"}"},
                {"\"127.0.0.1\" = \"value\"\n\"character encoding\" = \"value\"\n"
                 "\"ʎǝʞ\" = \"value\"\n'key2' = \"value\"\n'quoted \"value\"' = \"value\"\n",
                 "{\"127.0.0.1\":\"value\",\"character encoding\":\"value\",\"ʎǝʞ\":\"value\","
                 "\"key2\":\"value\",\"quoted \\\"value\\\"\":\"value\"}"},
                {"\"\" = \"blank\"", "{\"\":\"blank\"}"},
                {"'' = 'blank'", "{\"\":\"blank\"}"},
                {"name = \"Orange\"\nphysical.color = \"orange\"\nphysical.shape = \"round\"\n"
                 "site.\"google.com\" = true\n",
                 "{\"name\":\"Orange\",\"physical\":{\"color\":\"orange\",\"shape\":\"round\"},"
                 "\"site\":{\"google.com\":true}}"},
                {"fruit.name = \"banana\"\nfruit. color = \"yellow\"\nfruit . flavor = "
                 "\"banana\"\n",
                 "{\"fruit\":{\"name\":\"banana\",\"color\":\"yellow\",\"flavor\":\"banana\"}}"},
                {"fruit.apple.smooth = true\nfruit.orange = 2\n",
                 "{\"fruit\":{\"apple\":{\"smooth\":true},\"orange\":2}}"},
                {"apple.type = \"fruit\"\norange.type = \"fruit\"\n\napple.skin = \"thin\"\n"
                 "orange.skin = \"thick\"\n\napple.color = \"red\"\norange.color = \"orange\"\n",
                 "{\"apple\":{\"type\":\"fruit\",\"skin\":\"thin\",\"color\":\"red\"},"
                 "\"orange\":{\"type\":\"fruit\",\"skin\":\"thick\",\"color\":\"orange\"}}"},
                {"3.14159 = \"pi\"", "{\"3\":{\"14159\":\"pi\"}}"},
                {"\t key\t=\t1\t\r\n", "{\"key\":1}"},
                {"\xef\xbb\xbfkey = 1", "{\"key\":1}"},
                {"true = 1\n-1 = 2\ninf.nan = 3", "{\"true\":1,\"-1\":2,\"inf\":{\"nan\":3}}"},
                {"a = \"c\\u0000d\"", "{\"a\":\"c\\u0000d\"}"},
        };
        VALID(cases);
}

static void test_bad_keys(void **state)
{
        static const struct invalid cases[] = {
                {"key = # INVALID", "1: expected a value, found '#'"},
                {"first = \"Tom\" last = \"Preston-Werner\" # INVALID",
                 "1: expected the end of the line, found 'l'"},
                {"= \"no key name\"", "1: expected a key, found '='"},
                {"\"\"\"key\"\"\" = \"not allowed\"", "1: a key cannot be a multi-line string"},
                {"\n# DO NOT DO THIS\nname = \"Tom\"\nname = \"Pradyun\"\n",
                 "4: name is already defined in line 3"},
                {"spelling = \"favorite\"\n\"spelling\" = \"favourite\"\n",
                 "2: spelling is already defined in line 1"},
                {"fruit.apple = 1\nfruit.apple.smooth = true\n",
                 "2: fruit.apple is already defined in line 1"},
                {"# \x01", "1: a control character (0x01) must not stand in a comment"},
                {"# a\rb", "1: a control character (0x0d) must not stand in a comment"},
                {"key", "1: expected = after the key, found the end of the file"},
                {"key\n= 1", "1: expected = after the key, found the end of the line"},
                {"key =\n1", "1: expected a value, found the end of the line"},
                {"a..b = 1", "1: expected a key, found '.'"},
                {"a. = 1", "1: expected a key, found '='"},
                {"ä = 1", "1: expected a key, found byte 0xc3"},
                {"a = 1\rb = 2", "1: expected the end of the line, found a lone carriage return"},
                {"a = 1\n\xff = 2", "2: byte 0xff is not UTF-8"},
                {"a = \"\xed\xa0\x80\"", "1: byte 0xed is not UTF-8"},
                {"a = \"\xc0\x80\"", "1: byte 0xc0 is not UTF-8"},
                {"a = \"\xe2\x82", "1: byte 0xe2 is not UTF-8"},
        };
        INVALID(cases);
}

/* ---- String ---- */

static void test_strings(void **state)
{
        static const struct valid cases[] = {
                {"str = \"I'm a string. \\\"You can quote me\\\". "
                 "Name\\tJos\\u00E9\\nLocation\\tSF.\"",
                 "{\"str\":\"I'm a string. \\\"You can quote me\\\". "
                 "Name\\tJosé\\nLocation\\tSF.\"}"},
                {"s = \"\\b\\t\\n\\f\\r\\\"\\\\\\u00b5\\U0001F602\"",
                 "{\"s\":\"\\b\\t\\n\\f\\r\\\"\\\\\\u00b5\\uD83D\\uDE02\"}"},
                {"str1 = \"\"\"\nRoses are red\nViolets are blue\"\"\"",
                 "{\"str1\":\"Roses are red\\nViolets are blue\"}"},
                {"str3 = \"\"\"\r\nRoses are red\r\nViolets are blue\"\"\"",
                 "{\"str3\":\"Roses are red\\r\\nViolets are blue\"}"},
                {"str1 = \"The quick brown fox jumps over the lazy dog.\"\n"
                 "str2 = \"\"\"\nThe quick brown \\\n\n\n  fox jumps over \\\n    the lazy "
                 "dog.\"\"\"\n"
                 "str3 = \"\"\"\\\n       The quick brown \\\n       fox jumps over \\\n"
                 "       the lazy dog.\\\n       \"\"\"\n",
                 "{\"str1\":\"The quick brown fox jumps over the lazy dog.\","
                 "\"str2\":\"The quick brown fox jumps over the lazy dog.\","
                 "\"str3\":\"The quick brown fox jumps over the lazy dog.\"}"},
                {"s = \"\"\"a\\ \t \r\n \t b\"\"\"", "{\"s\":\"ab\"}"},
                {"str4 = \"\"\"Here are two quotation marks: \"\". Simple enough.\"\"\"",
                 "{\"str4\":\"Here are two quotation marks: \\\"\\\". Simple enough.\"}"},
                {"str5 = \"\"\"Here are three quotation marks: \"\"\\\".\"\"\"",
                 "{\"str5\":\"Here are three quotation marks: \\\"\\\"\\\".\"}"},
                {"str6 = \"\"\"Here are fifteen quotation marks: "
                 "\"\"\\\"\"\"\\\"\"\"\\\"\"\"\\\"\"\"\\\".\"\"\"",
                 "{\"str6\":\"Here are fifteen quotation marks: "
                 "\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\".\"}"},
                {"str7 = \"\"\"\"This,\" she said, \"is just a pointless statement.\"\"\"\"",
                 "{\"str7\":\"\\\"This,\\\" she said, \\\"is just a pointless statement.\\\"\"}"},
                {"s = \"\"\"two: \"\"\"\"\"", "{\"s\":\"two: \\\"\\\"\"}"},
                {"s = \"\"\"\"\"\"", "{\"s\":\"\"}"},
                {"winpath  = 'C:\\Users\\nodejs\\templates'\n"
                 "winpath2 = '\\\\ServerX\\admin$\\system32\\'\n"
                 "quoted   = 'Tom \"Dubs\" Preston-Werner'\n"
                 "regex    = '<\\i\\c*\\s*>'\n",
                 "{\"winpath\":\"C:\\\\Users\\\\nodejs\\\\templates\","
                 "\"winpath2\":\"\\\\\\\\ServerX\\\\admin$\\\\system32\\\\\","
                 "\"quoted\":\"Tom \\\"Dubs\\\" Preston-Werner\","
                 "\"regex\":\"<\\\\i\\\\c*\\\\s*>\"}"},
                {"regex2 = '''I [dw]on't need \\d{2} apples'''\n"
                 "lines  = '''\nThe first newline is\ntrimmed in raw strings.\n"
                 "   All other whitespace\n   is preserved.\n'''\n",
                 "{\"regex2\":\"I [dw]on't need \\\\d{2} apples\","
                 "\"lines\":\"The first newline is\\ntrimmed in raw strings.\\n"
                 "   All other whitespace\\n   is preserved.\\n\"}"},
                {"quot15 = '''Here are fifteen quotation marks: \"\"\"\"\"\"\"\"\"\"\"\"\"\"\"'''\n"
                 "apos15 = \"Here are fifteen apostrophes: '''''''''''''''\"\n"
                 "str = ''''That,' she said, 'is still pointless.''''\n",
                 "{\"quot15\":\"Here are fifteen quotation marks: "
                 "\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\","
                 "\"apos15\":\"Here are fifteen apostrophes: '''''''''''''''\","
                 "\"str\":\"'That,' she said, 'is still pointless.'\"}"},
                {"s = 'a\tb'", "{\"s\":\"a\\tb\"}"},
        };
        VALID(cases);
}

static void test_bad_strings(void **state)
{
        static const struct invalid cases[] = {
                {"str5 = \"\"\"Here are three quotation marks: \"\"\".\"\"\"",
                 "1: expected the end of the line, found '.'"},
                {"apos15 = '''Here are fifteen apostrophes: ''''''''''''''''''",
                 "1: expected the end of the line, found '''"},
                {"s = \"\\x41\"", "1: after a backslash, 'x' is no escape"},
                {"s = \"\\e\"", "1: after a backslash, 'e' is no escape"},
                {"s = \"\\", "1: after a backslash, the end of the file is no escape"},
                {"s = \"\\u00e\"", "1: \\u needs 4 hexadecimal digits after it"},
                {"s = \"\\U0001F60\"", "1: \\U needs 8 hexadecimal digits after it"},
                {"s = \"\\ud800\"", "1: U+D800 is not a Unicode character"},
                {"s = \"\\U00110000\"", "1: U+110000 is not a Unicode character"},
                {"s = \"a\nb\"", "1: the string has no closing \""},
                {"s = 'a", "1: the string has no closing '"},
                {"\ns = \"\"\"a\n\nb\"\"", "2: the string has no closing \"\"\""},
                {"s = '''a''", "1: the string has no closing '''"},
                {"s = \"a\x7f\"", "1: byte 0x7f must not stand in a string"},
                {"s = 'a\x01'", "1: byte 0x01 must not stand in a string"},
                {"s = \"\"\"\na\rb\"\"\"", "2: a lone carriage return must not stand in a string"},
                {"s = \"a\rb\"", "1: a carriage return must not stand in a string"},
                {"s = \"\"\"a \\ b\"\"\"", "1: after a backslash, a space is no escape"},
        };
        INVALID(cases);
}

/* ---- Integer, Float, Boolean ---- */

static void test_numbers(void **state)
{
        static const struct valid cases[] = {
                {"int1 = +99\nint2 = 42\nint3 = 0\nint4 = -17\n",
                 "{\"int1\":99,\"int2\":42,\"int3\":0,\"int4\":-17}"},
                {"int5 = 1_000\nint6 = 5_349_221\nint7 = 53_49_221\nint8 = 1_2_3_4_5\n",
                 "{\"int5\":1000,\"int6\":5349221,\"int7\":5349221,\"int8\":12345}"},
                {"hex1 = 0xDEADBEEF\nhex2 = 0xdeadbeef\nhex3 = 0xdead_beef\noct1 = 0o01234567\n"
                 "oct2 = 0o755\nbin1 = 0b11010110\n",
                 "{\"hex1\":3735928559,\"hex2\":3735928559,\"hex3\":3735928559,\"oct1\":342391,"
                 "\"oct2\":493,\"bin1\":214}"},
                {"a = -0\nb = +0\nc = -9223372036854775808\nd = 0x7fff_ffff_ffff_ffff\n",
                 "{\"a\":0,\"b\":0,\"c\":-9223372036854775808,\"d\":9223372036854775807}"},
                {"flt1 = +1.0\nflt2 = 3.1415\nflt3 = -0.01\nflt4 = 5e+22\nflt5 = 1e06\n"
                 "flt6 = -2E-2\nflt7 = 6.626e-34\nflt8 = 224_617.445_991_228\n",
                 "{\"flt1\":1.0,\"flt2\":3.1415,\"flt3\":-0.01,\"flt4\":5e+22,\"flt5\":1e06,"
                 "\"flt6\":-2E-2,\"flt7\":6.626e-34,\"flt8\":224617.445991228}"},
                {"a = -0.0\nb = +0.0", "{\"a\":-0.0,\"b\":0.0}"},
                {"sf1 = inf\nsf2 = +inf\nsf3 = -inf\nsf4 = nan\nsf5 = +nan\nsf6 = -nan\n",
                 "{\"sf1\":\"inf\",\"sf2\":\"inf\",\"sf3\":\"-inf\",\"sf4\":\"nan\",\"sf5\":"
                 "\"nan\","
                 "\"sf6\":\"nan\"}"},
                {"bool1 = true\nbool2 = false\n", "{\"bool1\":true,\"bool2\":false}"},
        };
        VALID(cases);
}

static void test_bad_numbers(void **state)
{
        static const struct invalid cases[] = {
#define NO_VALUE(word) {"a = " word, "1: " word " is no value (a string needs quotes around it)"}
                NO_VALUE(".7"),
                NO_VALUE("7."),
                NO_VALUE("3.e+20"),
                NO_VALUE("1__0"),
                NO_VALUE("_1"),
                NO_VALUE("1_"),
                NO_VALUE("0x"),
                NO_VALUE("0x_1"),
                NO_VALUE("0x1_"),
                NO_VALUE("+0x1"),
                NO_VALUE("0XFF"),
                NO_VALUE("0o8"),
                NO_VALUE("0b2"),
                NO_VALUE("True"),
                NO_VALUE("Inf"),
                NO_VALUE("+true"),
                NO_VALUE("1e"),
                NO_VALUE("1_.0"),
                NO_VALUE("1._0"),
                NO_VALUE("1e_1"),
                NO_VALUE("--1"),
                NO_VALUE("1.2.3"),
                NO_VALUE("word"),
                NO_VALUE("e5"),
                {"a = 012", "1: 012: a number cannot begin with a zero"},
                {"a = -00.1", "1: -00.1: a number cannot begin with a zero"},
                {"a = 9223372036854775808", "1: 9223372036854775808 does not fit 64 bits"},
                {"a = -9223372036854775809", "1: -9223372036854775809 does not fit 64 bits"},
                {"a = 0x8000000000000000", "1: 0x8000000000000000 does not fit 64 bits"},
                {"a = 1e999", "1: 1e999 does not fit a double"},
        };
        INVALID(cases);
}

/* ---- dates and times ---- */

static void test_dates(void **state)
{
        static const struct {
                const char *text;
                enum toml_kind kind;
        } cases[] = {
                {"1979-05-27T07:32:00Z", TOML_OFFSET_DATETIME},
                {"1979-05-27T00:32:00-07:00", TOML_OFFSET_DATETIME},
                {"1979-05-27T00:32:00.999999-07:00", TOML_OFFSET_DATETIME},
                {"1979-05-27 07:32:00Z", TOML_OFFSET_DATETIME},
                {"1979-05-27t07:32:00z", TOML_OFFSET_DATETIME},
                {"1979-05-27T07:32:00", TOML_LOCAL_DATETIME},
                {"1979-05-27T00:32:00.999999", TOML_LOCAL_DATETIME},
                {"1979-05-27 00:32:00", TOML_LOCAL_DATETIME},
                {"1979-05-27", TOML_LOCAL_DATE},
                {"2000-02-29", TOML_LOCAL_DATE},
                {"07:32:00", TOML_LOCAL_TIME},
                {"00:32:00.999999", TOML_LOCAL_TIME},
        };
        static const char *const tails[] = {"", " ", " # comment", "\n"};

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                for (size_t k = 0; k < sizeof(tails) / sizeof(tails[0]); k++) {
                        AUTO_TOML struct toml *document = NULL;
                        AUTO_FREE char *text = xprintf("d = %s%s", cases[i].text, tails[k]);

                        assert_int_equal(toml_parse(text, strlen(text), "t", &document, NULL), 0);
                        assert_int_equal(document->root->first->kind, cases[i].kind);
                        assert_string_equal(json_string_value(document->root->first->value),
                                            cases[i].text);
                }
        }
}

static void test_bad_dates(void **state)
{
        static const struct invalid cases[] = {
#define NO_DATE(word) {"a = " word, "1: " word " is no date or time"}
                NO_DATE("1979-13-01"),       NO_DATE("1979-02-29"),
                NO_DATE("1900-02-29"),       NO_DATE("1979-00-01"),
                NO_DATE("1979-04-31"),       NO_DATE("1979-5-27"),
                NO_DATE("24:00:00"),         NO_DATE("00:60:00"),
                NO_DATE("00:00:61"),         NO_DATE("07:32"),
                NO_DATE("07:32:00."),        NO_DATE("07:32:00Z"),
                NO_DATE("1979-05-27T07:32"), NO_DATE("1979-05-27T07:32:00+24:00"),
                NO_DATE("1979-05-27T"),      NO_DATE("1979-05-27T07:32:00+07"),
                NO_DATE("1979-05-27Z"),      NO_DATE("1979-05-27T07:32:00ZZ"),
        };
        INVALID(cases);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keys),    cmocka_unit_test(test_bad_keys),
                cmocka_unit_test(test_strings), cmocka_unit_test(test_bad_strings),
                cmocka_unit_test(test_numbers), cmocka_unit_test(test_bad_numbers),
                cmocka_unit_test(test_dates),   cmocka_unit_test(test_bad_dates),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
