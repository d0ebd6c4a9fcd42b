/*
 * Every example of the TOML 1.0.0 specification, in its order, from arrays on; then lines, our own
 * bounds, and writing.
 */
#include "test/unit/toml_fixture.h"

/* ---- Array ---- */

static void test_arrays(void **state)
{
        static const struct valid cases[] = {
                {"integers = [ 1, 2, 3 ]\ncolors = [ \"red\", \"yellow\", \"green\" ]\n"
                 "nested_arrays_of_ints = [ [ 1, 2 ], [3, 4, 5] ]\n"
                 "nested_mixed_array = [ [ 1, 2 ], [\"a\", \"b\", \"c\"] ]\n"
                 "string_array = [ \"all\", 'strings', \"\"\"are the same\"\"\", '''type''' ]\n"
                 "numbers = [ 0.1, 0.2, 0.5, 1, 2, 5 ]\n"
                 "contributors = [\n  \"Foo Bar <foo@example.com>\",\n"
                 "  { name = \"Baz Qux\", email = \"bazqux@example.com\", "
                 "url = \"https://example.com/bazqux\" }\n]\n",
                 "{\"integers\":[1,2,3],\"colors\":[\"red\",\"yellow\",\"green\"],"
                 "\"nested_arrays_of_ints\":[[1,2],[3,4,5]],"
                 "\"nested_mixed_array\":[[1,2],[\"a\",\"b\",\"c\"]],"
                 "\"string_array\":[\"all\",\"strings\",\"are the same\",\"type\"],"
                 "\"numbers\":[0.1,0.2,0.5,1,2,5],"
                 "\"contributors\":[\"Foo Bar <foo@example.com>\",{\"name\":\"Baz Qux\","
                 "\"email\":\"bazqux@example.com\",\"url\":\"https://example.com/bazqux\"}]}"},
                {"integers2 = [\n  1, 2, 3\n]\n\nintegers3 = [\n  1,\n  2, # this is ok\n]\n",
                 "{\"integers2\":[1,2,3],\"integers3\":[1,2]}"},
                {"a = [ # one\n # two\n 1 # three\n , # four\n ]", "{\"a\":[1]}"},
                {"a = []\nb = [[]]\nc = [{}]", "{\"a\":[],\"b\":[[]],\"c\":[{}]}"},
                {"d = [1979-05-27 07:32:00Z,1979-05-27 ]",
                 "{\"d\":[\"1979-05-27 07:32:00Z\",\"1979-05-27\"]}"},
        };
        static const struct invalid bad[] = {
                {"a = [1 2]", "1: expected , or ] in an array, found '2'"},
                {"a = [,]", "1: expected a value, found ','"},
                {"a = [1,,2]", "1: expected a value, found ','"},
                {"\na = [1,\n", "2: the array has no closing ]"},
                {"a = [1\n\n", "1: expected , or ] in an array, found the end of the file"},
                {"a = [1] 2", "1: expected the end of the line, found '2'"},
        };
        VALID(cases);
        INVALID(bad);
}

/* ---- Table ---- */

static void test_tables(void **state)
{
        static const struct valid cases[] = {
                {"[table]", "{\"table\":{}}"},
                {"[table-1]\nkey1 = \"some string\"\nkey2 = 123\n\n"
                 "[table-2]\nkey1 = \"another string\"\nkey2 = 456\n",
                 "{\"table-1\":{\"key1\":\"some string\",\"key2\":123},"
                 "\"table-2\":{\"key1\":\"another string\",\"key2\":456}}"},
                {"[dog.\"tater.man\"]\ntype.name = \"pug\"\n",
                 "{\"dog\":{\"tater.man\":{\"type\":{\"name\":\"pug\"}}}}"},
                {"[a.b.c]            # this is best practice\n"
                 "[ d.e.f ]          # same as [d.e.f]\n"
                 "[ g .  h  . i ]    # same as [g.h.i]\n"
                 "[ j . \"ʞ\" . 'l' ]  # same as [j.\"ʞ\".'l']\n",
                 "{\"a\":{\"b\":{\"c\":{}}},\"d\":{\"e\":{\"f\":{}}},\"g\":{\"h\":{\"i\":{}}},"
                 "\"j\":{\"ʞ\":{\"l\":{}}}}"},
                {"# [x] you\n# [x.y] don't\n# [x.y.z] need these\n[x.y.z.w] # for this to work\n\n"
                 "[x] # defining a super-table afterward is ok\n",
                 "{\"x\":{\"y\":{\"z\":{\"w\":{}}}}}"},
                {"[fruit.apple]\n[animal]\n[fruit.orange]\n",
                 "{\"fruit\":{\"apple\":{},\"orange\":{}},\"animal\":{}}"},
                {"name = \"Fido\"\nbreed = \"pug\"\n\n[owner]\nname = \"Regina Dogman\"\n"
                 "member_since = 1999-08-04\n",
                 "{\"name\":\"Fido\",\"breed\":\"pug\",\"owner\":{\"name\":\"Regina Dogman\","
                 "\"member_since\":\"1999-08-04\"}}"},
                {"fruit.apple.color = \"red\"\nfruit.apple.taste.sweet = true\n",
                 "{\"fruit\":{\"apple\":{\"color\":\"red\",\"taste\":{\"sweet\":true}}}}"},
                {"[fruit]\napple.color = \"red\"\napple.taste.sweet = true\n\n"
                 "[fruit.apple.texture]\nsmooth = true\n",
                 "{\"fruit\":{\"apple\":{\"color\":\"red\",\"taste\":{\"sweet\":true},"
                 "\"texture\":{\"smooth\":true}}}}"},
        };
        static const struct invalid bad[] = {
                {"[fruit]\napple = \"red\"\n\n[fruit]\norange = \"orange\"\n",
                 "4: fruit is already defined in line 1"},
                {"[fruit]\napple = \"red\"\n\n[fruit.apple]\ntexture = \"smooth\"\n",
                 "4: fruit.apple is already defined in line 2"},
                {"[fruit]\napple.color = \"red\"\napple.taste.sweet = true\n[fruit.apple]\n",
                 "4: fruit.apple is already defined in line 2"},
                {"[fruit]\napple.color = \"red\"\napple.taste.sweet = true\n[fruit.apple.taste]\n",
                 "4: fruit.apple.taste is already defined in line 3"},
                {"[a.b.c]\nz = 9\n[a]\nb.c.t = 1\n", "4: a.b.c is already defined in line 1"},
                {"[a.b]\nz = 9\n[a]\nb = 1\n", "4: a.b is already defined in line 1"},
                {"[]", "1: expected a key, found ']'"},
                {"[a.]", "1: expected a key, found ']'"},
                {"[a", "1: expected ] after the table's name, found the end of the file"},
                {"[a\n]", "1: expected ] after the table's name, found the end of the line"},
                {"[a] b = 1", "1: expected the end of the line, found 'b'"},
                {"[[a]", "1: expected ]] after the table's name, found ']'"},
                {"[ [a]]", "1: expected a key, found '['"},
        };
        VALID(cases);
        INVALID(bad);
}

/* ---- Inline Table ---- */

static void test_inline_tables(void **state)
{
        static const struct valid cases[] = {
                {"name = { first = \"Tom\", last = \"Preston-Werner\" }\npoint = { x = 1, y = 2 }\n"
                 "animal = { type.name = \"pug\" }\n",
                 "{\"name\":{\"first\":\"Tom\",\"last\":\"Preston-Werner\"},"
                 "\"point\":{\"x\":1,\"y\":2},\"animal\":{\"type\":{\"name\":\"pug\"}}}"},
                {"[name]\nfirst = \"Tom\"\nlast = \"Preston-Werner\"\n\n[point]\nx = 1\ny = 2\n\n"
                 "[animal]\ntype.name = \"pug\"\n",
                 "{\"name\":{\"first\":\"Tom\",\"last\":\"Preston-Werner\"},"
                 "\"point\":{\"x\":1,\"y\":2},\"animal\":{\"type\":{\"name\":\"pug\"}}}"},
                {"[product]\ntype = { name = \"Nail\" }\n",
                 "{\"product\":{\"type\":{\"name\":\"Nail\"}}}"},
                {"[product]\ntype.name = \"Nail\"\n",
                 "{\"product\":{\"type\":{\"name\":\"Nail\"}}}"},
                {"a = {}\nb = {x = [\n1,\n],y=\"\"\"\n\"\"\"}",
                 "{\"a\":{},\"b\":{\"x\":[1],\"y\":\"\"}}"},
                {"a = {b.c = 1, b.d = 2}", "{\"a\":{\"b\":{\"c\":1,\"d\":2}}}"},
        };
        static const struct invalid bad[] = {
                {"[product]\ntype = { name = \"Nail\" }\ntype.edible = false\n",
                 "3: product.type is already defined in line 2"},
                {"[product]\ntype.name = \"Nail\"\ntype = { edible = false }\n",
                 "3: product.type is already defined in line 2"},
                {"a = {b = {}}\n[a.b.c]\n", "2: a is already defined in line 1"},
                {"a = {b = {c = 1}, b.d = 2}", "1: a.b is already defined in line 1"},
                {"a = {x = 1, x = 2}", "1: a.x is already defined in line 1"},
                {"a = {x = 1,}", "1: an inline table cannot end with a comma"},
                {"a = {x = 1\n}",
                 "1: expected , or } in an inline table, found the end of the line"},
                {"a = {\n}", "1: expected a key, found the end of the line"},
                {"a = {x = 1 y = 2}", "1: expected , or } in an inline table, found 'y'"},
                {"a = {x = 1", "1: expected , or } in an inline table, found the end of the file"},
                {"a = {,}", "1: expected a key, found ','"},
                {"a = {# x\n}", "1: expected a key, found '#'"},
        };
        VALID(cases);
        INVALID(bad);
}

/* ---- Array of Tables ---- */

static void test_arrays_of_tables(void **state)
{
        static const struct valid cases[] = {
                {"[[products]]\nname = \"Hammer\"\nsku = 738594937\n\n"
                 "[[products]]  # empty table within the array\n\n"
                 "[[products]]\nname = \"Nail\"\nsku = 284758393\n\ncolor = \"gray\"\n",
                 "{\"products\":[{\"name\":\"Hammer\",\"sku\":738594937},{},"
                 "{\"name\":\"Nail\",\"sku\":284758393,\"color\":\"gray\"}]}"},
                {"[[fruits]]\nname = \"apple\"\n\n[fruits.physical]  # subtable\ncolor = \"red\"\n"
                 "shape = \"round\"\n\n[[fruits.varieties]]  # nested array of tables\n"
                 "name = \"red delicious\"\n\n[[fruits.varieties]]\nname = \"granny smith\"\n\n\n"
                 "[[fruits]]\nname = \"banana\"\n\n[[fruits.varieties]]\nname = \"plantain\"\n",
                 "{\"fruits\":[{\"name\":\"apple\",\"physical\":{\"color\":\"red\",\"shape\":"
                 "\"round\"},"
                 "\"varieties\":[{\"name\":\"red delicious\"},{\"name\":\"granny smith\"}]},"
                 "{\"name\":\"banana\",\"varieties\":[{\"name\":\"plantain\"}]}]}"},
                {"points = [ { x = 1, y = 2, z = 3 },\n           { x = 7, y = 8, z = 9 },\n"
                 "           { x = 2, y = 4, z = 8 } ]\n",
                 "{\"points\":[{\"x\":1,\"y\":2,\"z\":3},{\"x\":7,\"y\":8,\"z\":9},"
                 "{\"x\":2,\"y\":4,\"z\":8}]}"},
                {"[[ a . b ]]\nx = 1", "{\"a\":{\"b\":[{\"x\":1}]}}"},
        };
        static const struct invalid bad[] = {
                {"[fruit.physical]\ncolor = \"red\"\nshape = \"round\"\n\n[[fruit]]\nname = "
                 "\"apple\"\n",
                 "5: fruit is already defined in line 1"},
                {"fruits = []\n\n[[fruits]] # Not allowed\n",
                 "3: fruits is already defined in line 1"},
                {"[[fruits]]\nname = \"apple\"\n\n[[fruits.varieties]]\nname = \"red "
                 "delicious\"\n\n"
                 "[fruits.varieties]\nname = \"granny smith\"\n",
                 "7: fruits[0].varieties is already defined in line 4"},
                {"[[fruits]]\n[fruits.physical]\ncolor = \"red\"\nshape = \"round\"\n\n"
                 "[[fruits.physical]]\ncolor = \"green\"\n",
                 "6: fruits[0].physical is already defined in line 2"},
                {"a = [{}]\n[a.b]\n", "2: a is already defined in line 1"},
                {"[[a.b]]\n[a]\nb.y = 2\n", "3: a.b is already defined in line 1"},
        };
        VALID(cases);
        INVALID(bad);
}

/* ---- lines, bounds, writing ---- */

static void test_lines(void **state)
{
        static const char text[] =
                "a = 1\n\n[t.u]\nb = \"\"\"\n\n\"\"\"\nc = [\n 1,\n 2]\n[[v]]\n[[v]]\nx.y = 3\n";
        AUTO_TOML struct toml *document = NULL;
        AUTO_BUFFER struct buffer path = BUFFER_INIT;
        const struct toml_node *t, *u, *v;

        assert_int_equal(toml_parse(text, strlen(text), "t", &document, NULL), 0);
        assert_int_equal(toml_member(document->root, "a")->line, 1);
        t = toml_member(document->root, "t");
        u = toml_member(t, "u");
        assert_int_equal(u->line, 3);
        assert_int_equal(toml_member(u, "b")->line, 4);
        assert_int_equal(toml_member(u, "c")->line, 7);
        assert_int_equal(toml_member(u, "c")->first->line, 8);
        assert_int_equal(toml_member(u, "c")->last->line, 9);
        v = toml_member(document->root, "v");
        assert_int_equal(v->line, 10);
        assert_int_equal(v->last->line, 11);
        toml_add_path(&path, v->last->first->first);
        assert_string_equal(path.data, "v[1].x.y");
        assert_null(toml_member(document->root, "b"));
}

static void test_bounds(void **state)
{
        AUTO_BUFFER struct buffer deep = BUFFER_INIT, dotted = BUFFER_INIT, large = BUFFER_INIT;
        struct toml *document = NULL;
        struct error err;

        buffer_add_text(&deep, "a = ");
        for (int i = 0; i < TOML_DEPTH_MAX - 1; i++)
                buffer_add_text(&deep, "[");
        for (int i = 0; i < TOML_DEPTH_MAX - 1; i++)
                buffer_add_text(&deep, "]");
        assert_int_equal(toml_parse(deep.data, deep.length, "t", &document, &err), 0);
        toml_free(take_ptr(document));

        buffer_fini(&deep);
        buffer_add_text(&deep, "a = ");
        for (int i = 0; i < 100000; i++)
                buffer_add_text(&deep, i % 2 ? "{a=" : "[");
        assert_true(toml_parse(deep.data, deep.length, "t", &document, &err) < 0);
        assert_string_equal(err.message, "t:1: nested deeper than 32 levels");

        for (int i = 0; i < TOML_DEPTH_MAX; i++)
                buffer_add_text(&dotted, "a.");
        buffer_add_text(&dotted, "a = 1");
        assert_true(toml_parse(dotted.data, dotted.length, "t", &document, &err) < 0);
        assert_string_equal(err.message, "t:1: nested deeper than 32 levels");

        memset(buffer_reserve(&large, TOML_SIZE_MAX + 1), '\n', TOML_SIZE_MAX + 1);
        large.length = TOML_SIZE_MAX + 1;
        assert_true(toml_parse(large.data, large.length, "t", &document, &err) < 0);
        assert_string_equal(err.message, "t: longer than 1048576 bytes");
        assert_int_equal(toml_parse(large.data, TOML_SIZE_MAX, "t", &document, &err), 0);
        toml_free(document);
}

static void test_zero_byte(void **state)
{
        struct toml *document = NULL;
        struct error err;

        assert_true(toml_parse("a = 1\0", 6, "t", &document, &err) < 0);
        assert_string_equal(err.message, "t:1: expected the end of the line, found byte 0x00");
        assert_true(toml_parse("a = \"\0\"", 7, "t", &document, &err) < 0);
        assert_string_equal(err.message, "t:1: byte 0x00 must not stand in a string");
        assert_true(toml_parse("a = \"\\\0\"", 8, "t", &document, &err) < 0);
        assert_true(toml_parse("a = 0\0", 6, "t", &document, &err) < 0);

        /* an escape may stand for one, in keys too; such keys are all different */
        {
                static const char text[] = "\"a\\u0000b\" = 1\n\"a\" = 2\n\"a\\u0000c\" = 3\n";

                assert_int_equal(toml_parse(text, strlen(text), "t", &document, &err), 0);
                assert_int_equal(document->root->first->key_length, 3);
                assert_memory_equal(document->root->first->key, "a\0b", 3);
                assert_int_equal(toml_member(document->root, "a")->line, 2);
                assert_int_equal(json_object_size(document->tree), 3);
                toml_free(document);
        }
}

/* What is written comes back as it was. */
static void test_writing(void **state)
{
        static const char nasty[] = "a \"quoted\" \\ word,\n\ttab \x01\x7f é";
        AUTO_BUFFER struct buffer text = BUFFER_INIT, path = BUFFER_INIT;
        AUTO_TOML struct toml *document = NULL;

        buffer_add_text(&text, "bare.");
        toml_add_string(&text, nasty);
        buffer_add_text(&text, " = ");
        toml_add_string(&text, nasty);
        assert_int_equal(toml_parse(text.data, text.length, "t", &document, NULL), 0);
        assert_string_equal(document->root->first->first->key, nasty);
        assert_string_equal(json_string_value(document->root->first->first->value), nasty);
        toml_add_path(&path, document->root->first->first);
        assert_memory_equal(path.data, text.data, path.length);
}

static void test_load(void **state)
{
        struct toml *document = NULL;
        struct error err;

        assert_true(toml_load("/nowhere/crisp.toml", &document, &err) == -ENOENT);
        assert_null(document);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_arrays),        cmocka_unit_test(test_tables),
                cmocka_unit_test(test_inline_tables), cmocka_unit_test(test_arrays_of_tables),
                cmocka_unit_test(test_lines),         cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_zero_byte),     cmocka_unit_test(test_writing),
                cmocka_unit_test(test_load),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
