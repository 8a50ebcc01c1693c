"""Environments that the loader refuses for a symbol, a version, or an extension's own sake."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from pathlib import Path

from .broken import USES_F, V1, F, healthy, old_and_new, scenario
from .workshop import Case, Workshop, opened

# --- symbols and versions ---------------------------------------------------------------------------


@scenario
def an_undefined_function(w: Workshop) -> Case:
    return opened(w.lib("libuser.so", USES_F))


@scenario
def an_undefined_variable(w: Workshop) -> Case:
    return opened(w.lib("libuser.so", "extern int v; int *where(void){return &v;}"))


@scenario
def data_before_functions_when_both_are_undefined(w: Workshop) -> Case:
    code = "extern int zebra; int ant(void); int g(void){return ant();} int *z = &zebra;"
    return opened(w.lib("libuser.so", code))


@scenario
def several_undefined_functions(w: Workshop) -> Case:
    names = ["quebec", "alpha", "zulu", "mike", "charlie"]
    declared = "".join(f"int {name}(void);" for name in names)
    called = "+".join(f"{name}()" for name in names)
    return opened(w.lib("libuser.so", f"{declared} int g(void){{return {called};}}"))


@healthy
def a_weak_symbol_may_stay_undefined(w: Workshop) -> Case:
    code = "int f(void) __attribute__((weak)); int g(void){return f ? f() : 0;}"
    return opened(w.lib("libuser.so", code))


@scenario
def dependencies_are_relocated_before_their_users(w: Workshop) -> Case:
    low = w.lib("liblow.so", "int lost_low(void); int low(void){return lost_low();}")
    middle = w.lib("libmiddle.so", "int lost_mid(void); int mid(void){return lost_mid();}",
                   needs=[low], runpath=str(w.folder))  # fmt: skip
    user = w.lib("libuser.so", USES_F, needs=[middle], runpath=str(w.folder))
    return opened(user)


@scenario
def siblings_are_relocated_from_the_last_to_the_first(w: Workshop) -> Case:
    one = w.lib("libone.so", "int lost_one(void); int one(void){return lost_one();}")
    two = w.lib("libtwo.so", "int lost_two(void); int two(void){return lost_two();}")
    user = w.lib("libuser.so", needs=[one, two], runpath=str(w.folder))
    return opened(user)


@scenario
def libraries_that_need_each_other(w: Workshop) -> Case:
    a = w.lib("liba.so", "int a(void){return 0;}")
    b = w.lib("libb.so", "int lost_b(void); int b(void){return lost_b();}", needs=[a],
              runpath=str(w.folder))  # fmt: skip
    a = w.lib("liba.so", "int lost_a(void); int a(void){return lost_a();}", needs=[b],
              runpath=str(w.folder))  # fmt: skip
    user = w.lib("libuser.so", needs=[a], runpath=str(w.folder))
    return opened(user)


@scenario
def a_diamond_of_dependencies(w: Workshop) -> Case:
    base = w.lib("libbase.so", "int lost_base(void); int base(void){return lost_base();}")
    left = w.lib("libleft.so", "int lost_l(void); int l(void){return lost_l();}", needs=[base],
                 runpath=str(w.folder))  # fmt: skip
    right = w.lib("libright.so", "int lost_r(void); int r(void){return lost_r();}", needs=[base],
                  runpath=str(w.folder))  # fmt: skip
    user = w.lib("libuser.so", needs=[base, left, right], runpath=str(w.folder))
    return opened(user)


@scenario
def a_version_that_the_library_does_not_define(w: Workshop) -> Case:
    old, _, library = old_and_new(w)
    user = w.lib("libuser.so", "int f2(void); int g(void){return f2();}", needs=[library],
                 runpath=str(old))  # fmt: skip
    return opened(user)


@scenario
def a_version_that_is_there_without_its_symbol(w: Workshop) -> Case:
    new = w.lib("libjit.so.12", F + "int f2(void){return 2;}", into="new",
                versions="V2 {global: f; f2; local: *;};")  # fmt: skip
    old = w.lib("libjit.so.12", F, into="old", versions="V2 {global: f; local: *;};")
    user = w.lib("libuser.so", "int f2(void); int g(void){return f2();}", needs=[new],
                 runpath=str(old.parent))  # fmt: skip
    return opened(user)


@scenario
def a_library_without_versions_where_one_is_wanted(w: Workshop) -> Case:
    new = w.lib("libjit.so.12", F, into="new", versions=V1)
    plain = w.lib("libjit.so.12", "int other(void){return 1;}", into="plain")
    user = w.lib("libuser.so", USES_F, needs=[new], runpath=str(plain.parent))
    return opened(user)


@healthy
def the_default_version_serves_who_wants_none(w: Workshop) -> Case:
    plain = w.lib("libjit.so.12", F, into="plain")
    versioned = w.lib("libjit.so.12", F, into="versioned", versions=V1)
    user = w.lib("libuser.so", USES_F, needs=[plain], runpath=str(versioned.parent))
    return opened(user)


@scenario
def a_hidden_version_does_not_serve_who_wants_none(w: Workshop) -> Case:
    code = ('__asm__(".symver f_old,f@V1"); int f_old(void){return 1;}'
            "int other(void){return 0;}")  # fmt: skip
    plain = w.lib("libjit.so.12", F, into="plain")
    hidden = w.lib("libjit.so.12", code, into="hidden",
                   versions="V0 {global: other; local: *;}; V1 {} V0;")  # fmt: skip
    user = w.lib("libuser.so", USES_F, needs=[plain], runpath=str(hidden.parent))
    return opened(user)


@scenario
def an_old_hash_table_only(w: Workshop) -> Case:
    flags = ["-Wl,--hash-style=sysv"]
    old = w.lib("libjit.so.12", F, into="old", flags=flags)
    user = w.lib("libuser.so", "int f(void); int f2(void); int g(void){return f()+f2();}",
                 needs=[old], runpath=str(old.parent), flags=flags)  # fmt: skip
    return opened(user)


@scenario
def an_old_libstdcxx_comes_first(w: Workshop) -> Case:
    user = w.lib("libcxx.so", "#include <string>\nstd::string s(int n){return std::to_string(n);}"
                 "void t(){throw std::bad_alloc();}", language="cc",
                 flags=["-shared-libgcc"])  # fmt: skip
    fake = w.lib("libstdc++.so.6", F, into="conda/lib",
                 versions="GLIBCXX_3.4 {global: f; local: *;}; CXXABI_1.3 {};")  # fmt: skip
    return opened(user, env={"LD_LIBRARY_PATH": str(fake.parent)})


@scenario
def a_glibc_of_the_future(w: Workshop) -> Case:
    user = w.lib("libnew.so", "#include <math.h>\ndouble g(double x){return pow(x, x);}",
                 flags=["-lm", "-fno-builtin"])  # fmt: skip
    data = user.read_bytes()
    version = re.search(rb"GLIBC_2\.(\d\d)\0", data)
    assert version is not None
    user.write_bytes(data.replace(version[0], b"GLIBC_2.99\0"))
    return opened(user)


# --- Python extensions ------------------------------------------------------------------------------

EXTENSION = """
#include <Python.h>
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "%(name)s", 0, -1, 0};
PyMODINIT_FUNC %(init)s(void){ %(body)s return PyModule_Create(&def); }
"""


def extension(w: Workshop, name: str, *, init: str = "", body: str = "", **kwargs: object) -> Path:
    include = sysconfig.get_path("include")
    code = EXTENSION % {"name": name, "init": init or f"PyInit_{name}", "body": body}
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return w.lib(f"{name}{suffix}", code, flags=[f"-I{include}"], **kwargs)  # type: ignore[arg-type]


@healthy
def an_extension_that_is_fine(w: Workshop) -> Case:
    return Case([("import", extension(w, "fine"))])


@scenario
def an_extension_for_another_python(w: Workshop) -> Case:
    body = "extern int PyCObject_Check(void*); PyCObject_Check(0);"
    return Case([("import", extension(w, "aged", body=body))])


@scenario
def an_extension_under_another_name(w: Workshop) -> Case:
    return Case([("import", extension(w, "renamed", init="PyInit_original"))])


@scenario
def an_extension_whose_library_is_gone(w: Workshop) -> Case:
    gone = w.lib("libcudart.so.12", F)
    path = extension(w, "kernels", body="extern int f(void); f();", needs=[gone])
    gone.unlink()
    return Case([("import", path)])


assert sys.platform == "linux", "these tests ask the Linux loader"
assert os.name == "posix"
