"""scripts/tidy on a small tree: silent when it is clean, and one finding a planted fault."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

CLEAN = {
    ".clang-format": (ROOT / ".clang-format").read_text(),
    "src/base/README.md": "base\n",
    "src/base/num.h": "/* Numbers. */\nint num_add(int a, int b);\n",
    "src/base/num.c": '#include "base/num.h"\n\nint num_add(int a, int b)\n{\n    return a + b;\n}\n',
    "src/base/alloc.c": "void *mem(void)\n{\n    return malloc(1);\n}\n",
    "src/store/README.md": "store\n",
    "src/store/table.h": '/* The table. */\n#include "base/num.h"\n\nstruct table {\n    int n;\n    void (*hook)(int);\n};\n'
                         "void table_each(struct table *t, int (*visit)(void *));\n",
    "src/store/table.c": '#include "store/table.h"\n\n'
                         "static const int primes[] = {2, 3};\n"
                         "static const struct {\n    int n;\n} one = {1};\n"
                         "enum { LIMIT = 3 };\n"
                         "struct forward;\n"
                         'static const char *const names[] = {"printf(", "}"};\n\n'
                         "/* Not a call: malloc(3). See docs/why.md. */\n"
                         "int table_prime(const struct table *t)\n{\n"
                         "    static const int first = 1;\n"
                         "    int copy = t->n;\n"
                         "    t->hook(copy);\n"
                         "    return primes[0] + first + copy + names[0][0];\n}\n",
    "docs/why.md": "See [base](../src/base/README.md#rooms).\n",
    "src/client/README.md": "client\n",
    "src/client/client.c": '#include "base/num.h"\n#include "larder/larder.h"\n',
    "include/larder/larder.h": "/* The client. */\nint larder_x(void);\n",
    "src/tool/README.md": "tool\n",
    "src/tool/main.c": 'int main(void)\n{\n    printf("%d", 1);\n    return 0;\n}\n',
}


def tidy(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run = subprocess.run([ROOT / "scripts/tidy", "--root", root], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    findings = run.stdout.splitlines()
    assert findings.pop().startswith("tidy: ")
    return run.returncode, findings


def body(lines, name="grow"):
    statements = "".join(f"    n += {i};\n" for i in range(lines - 4))
    return f"int {name}(int n)\n{{\n{statements}    return n;\n}}\n"


def test_a_clean_tree_passes(tmp_path):
    assert tidy(tmp_path, CLEAN) == (0, [])


def test_an_empty_tree_fails(tmp_path):
    (tmp_path / "src").mkdir()
    run = subprocess.run([ROOT / "scripts/tidy", "--root", tmp_path], capture_output=True, text=True, check=False)
    assert run.returncode == 1


FAULTS = {
    "upward include": (
        {"src/base/up.c": '#include "store/table.h"\n'},
        "src/base/up.c:1: layers: base may not include store"),
    "include of a layer of the same rank": (
        {"src/os/README.md": "os\n", "src/proto/README.md": "proto\n", "src/proto/a.h": "/* a */\n",
         "src/os/a.c": '#include "proto/a.h"\n'},
        "src/os/a.c:1: layers: os may not include proto"),
    "the client looks into the store": (
        {"src/client/client.c": '#include "store/table.h"\n'},
        "src/client/client.c:1: layers: client may not include store"),
    "include without its layer": (
        {"src/store/a.c": '#include "table.h"\n'},
        'src/store/a.c:1: layers: "table.h": write it as "layer/file.h"'),
    "unknown layer": (
        {"src/misc/README.md": "misc\n", "src/misc/a.c": "int a(void);\n"},
        "src/misc/a.c:1: layers: src/misc is no layer"),
    "file outside the layers": (
        {"src/a.c": "int a(void);\n"},
        "src/a.c:1: layers: a source file stands in a layer's folder"),
    "banned copy": (
        {"src/base/a.c": "void a(char *d)\n{\n    strcpy(d, d);\n}\n"},
        "src/base/a.c:3: banned: strcpy(): use memcpy"),
    "heap beside the door": (
        {"src/base/a.c": "void *a(void)\n{\n    return malloc(1);\n}\n"},
        "src/base/a.c:3: banned: malloc(): use base/alloc.h"),
    "printing library": (
        {"src/store/a.c": 'void a(void)\n{\n    fprintf(stderr, "x");\n}\n'},
        "src/store/a.c:3: banned: fprintf(): use a reply"),
    "exiting library": (
        {"src/store/a.c": "void a(void)\n{\n    exit(1);\n}\n"},
        "src/store/a.c:3: banned: exit(): use an error code"),
    "assert.h": (
        {"src/store/a.c": "#include <assert.h>\n"},
        "src/store/a.c:1: banned: <assert.h>: use base/assert.h"),
    "assert()": (
        {"src/store/a.c": "void a(int x)\n{\n    assert(x);\n}\n"},
        "src/store/a.c:3: banned: assert(): use ASSERT"),
    "clock beside the vtable": (
        {"src/store/a.c": "long a(void)\n{\n    return time(0);\n}\n"},
        "src/store/a.c:3: banned: time(): use os/clock.h"),
    "fork": (
        {"src/store/a.c": "int a(void)\n{\n    return fork();\n}\n"},
        "src/store/a.c:3: banned: fork(): use a thread"),
    "note to self": (
        {"src/store/a.c": "/* TODO: later */\nint a(void);\n"},
        "src/store/a.c:1: notes: TODO: do it"),
    "header without a contract": (
        {"src/base/a.h": "int a(void);\n"},
        "src/base/a.h:1: contract: a header opens with a comment"),
    "folder without a README": (
        {"src/ds/a.c": "int a(void);\n"},
        "src/ds:1: readme: a source folder has a README.md"),
    "comment that points nowhere": (
        {"src/base/a.c": "/* Why: docs/decisions/042-why.md. */\nint a(void);\n"},
        "src/base/a.c:1: links: docs/decisions/042-why.md is not there"),
    "document that points nowhere": (
        {"docs/a.md": "See [that](gone.md#part) and [this](https://example.org/x.md).\n"},
        "docs/a.md:1: links: gone.md is not there"),
    "unformatted": (
        {"src/store/a.c": "int  a ( void ) ;\n"},
        "src/store/a.c:1: format: not as clang-format writes it"),
    "unformatted test": (
        {"tests/unit/a.c": "int  a ( void ) ;\n"},
        "tests/unit/a.c:1: format: not as clang-format writes it"),
    "mutable global": (
        {"src/store/a.c": "static int counter;\n"},
        "src/store/a.c:1: globals: counter is mutable"),
    "mutable global, initialised": (
        {"src/store/a.c": "int sizes[] = {1, 2};\n"},
        "src/store/a.c:1: globals: sizes is mutable"),
    "mutable pointer to constants": (
        {"src/store/a.c": 'static const char *name = "x";\n'},
        "src/store/a.c:1: globals: name is mutable"),
    "mutable pointer to a function": (
        {"src/store/a.c": "static void (*hook)(int);\n"},
        "src/store/a.c:1: globals: hook is mutable"),
    "mutable struct": (
        {"src/store/a.c": "static struct table {\n    int n;\n} the_table;\n"},
        "src/store/a.c:1: globals: the_table is mutable"),
    "mutable struct without a name": (
        {"src/store/a.c": "static struct {\n    int n;\n} sink = {.n = 1};\n"},
        "src/store/a.c:1: globals: sink is mutable"),
    "mutable static in a function": (
        {"src/store/a.c": "int a(int x)\n{\n    if (x) {\n        static int n;\n        n += x;\n        return n;\n"
                          "    }\n    return 0;\n}\n"},
        "src/store/a.c:4: globals: n is mutable"),
    "thread-local": (
        {"src/store/a.c": "static _Thread_local int here;\n"},
        "src/store/a.c:1: globals: here is mutable"),
    "name defined twice": (
        {"src/base/a.c": "int same(void)\n{\n    return 1;\n}\n",
         "src/store/a.c": "int same(void)\n{\n    return 2;\n}\n"},
        "src/store/a.c:1: duplicate: same() is defined in src/base/a.c too"),
    "name defined in a program and a layer it links": (
        {"src/base/a.c": "int same(void)\n{\n    return 1;\n}\n",
         "src/tool/a.c": "int same(void)\n{\n    return 2;\n}\n"},
        "src/tool/a.c:1: duplicate: same() is defined in src/base/a.c too"),
    "copied function": (
        {"src/base/a.c": "static " + body(12, "one"), "src/store/a.c": "static " + body(12, "two")},
        "src/store/a.c:1: copy: two() is a copy of one()"),
    "long function": (
        {"src/store/a.c": body(81)},
        "src/store/a.c:1: function-length: grow() has 81 lines"),
    "long function with a signature of two lines": (
        {"src/store/a.c": body(80).replace("int grow(int n)", "int grow(int n, " + "int " + "m" * 88 + ",\n"
                                           "         int k)")},
        "src/store/a.c:1: function-length: grow() has 81 lines"),
    "long file": (
        {"src/store/a.h": "/* Much. */\n" + "int a(void);\n" * 1000},
        "src/store/a.h:1001: file-length: 1001 lines"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(tmp_path, fault):
    files, finding = FAULTS[fault]
    status, findings = tidy(tmp_path, CLEAN | files)
    assert status == 1
    assert len(findings) == 1, findings
    assert findings[0].startswith(finding)


def test_programs_that_never_meet_may_use_the_same_name(tmp_path):
    files = {"src/store/a.c": "int same(void)\n{\n    return 1;\n}\n",
             "src/tool/a.c": "int same(void)\n{\n    return 2;\n}\n"}
    assert tidy(tmp_path, CLEAN | files) == (0, [])


def test_lengths_at_their_limits_pass(tmp_path):
    files = {"src/store/a.c": body(80),
             "src/store/b.h": "/* Much. Length: a table that belongs together. */\n" + "int a(void);\n" * 1200}
    status, findings = tidy(tmp_path, CLEAN | files)
    assert status == 0
    assert [f.split(":")[0] for f in findings] == ["src/store/b.h"] and "(warning)" in findings[0]


def test_a_file_of_700_lines_is_a_warning(tmp_path):
    status, findings = tidy(tmp_path, CLEAN | {"src/store/b.h": "/* Much. */\n" + "int a(void);\n" * 699})
    assert (status, findings) == (0, ["src/store/b.h:700: file-length (warning): 700 lines, 600 is the aim"])


def test_an_exception_with_a_reason_is_heard(tmp_path):
    files = {"src/store/a.c": body(81), "scripts/tidy.except": "function-length src/store/a.c:grow one switch\n"}
    assert tidy(tmp_path, CLEAN | files) == (0, [])


def test_an_exception_without_a_reason_is_not(tmp_path):
    files = {"src/store/a.c": body(81), "scripts/tidy.except": "function-length src/store/a.c:grow\n"}
    status, findings = tidy(tmp_path, CLEAN | files)
    assert status == 1 and len(findings) == 2


def test_an_exception_that_excuses_nothing_is_an_error(tmp_path):
    files = {"scripts/tidy.except": "function-length src/store/a.c:grow one switch\n"}
    status, findings = tidy(tmp_path, CLEAN | files)
    assert status == 1 and "excuses nothing" in findings[0]
