"""Make a library that chooses among kernels as PyTorch does, small: the same symbols, in C++ that g++ compiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.elfsmith import need

NAME = "libtorch_cpu.so"
SOURCE = r"""
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#ifndef KERNEL
#define KERNEL __attribute__((noinline, used)) static int
#endif
#define WIDE asm volatile(".rept 5000; nopl 0x11223344(%rax,%rax,1); .endr")

namespace at::native {

struct DispatchStubImpl {
  void* choose_cpu_impl(void* DEFAULT, void* AVX512, void* AVX2);
  void* get_call_ptr(void* DEFAULT, void* AVX512, void* AVX2);
};

void* DispatchStubImpl::choose_cpu_impl(void* DEFAULT, void* AVX512, void* AVX2) {
  const char* wanted = getenv("ATEN_CPU_CAPABILITY");
  if (wanted && !strcmp(wanted, "default")) return DEFAULT;
  if (wanted && !strcmp(wanted, "avx512") && AVX512) return AVX512;
#ifdef FALLS_BACK
  return DEFAULT;
#endif
  return AVX2;
}

void* DispatchStubImpl::get_call_ptr(void* DEFAULT, void* AVX512, void* AVX2) {
  void* chosen = choose_cpu_impl(DEFAULT, AVX512, AVX2);
  if (!chosen) throw std::runtime_error("DispatchStub: missing kernel for cpu");
  return chosen;
}

template <typename F, typename T> struct DispatchStub {
  static F DEFAULT, AVX512, AVX2;
  DispatchStubImpl impl;
  int operator()(int x) { return ((F)impl.get_call_ptr((void*)DEFAULT, (void*)AVX512, (void*)AVX2))(x); }
};

typedef int (*Kernel)(int);
struct add_type : DispatchStub<Kernel, add_type> {} add_stub;
struct mul_type : DispatchStub<Kernel, mul_type> {} mul_stub;
struct sub_type : DispatchStub<Kernel, sub_type> {} sub_stub;
#define REGISTER(name, set, kernel) template <> Kernel DispatchStub<Kernel, name##_type>::set = kernel;

KERNEL shared(int x) { WIDE; return x + 1; }
KERNEL named_in_data(int x) { WIDE; return x + 2; }
KERNEL behind_add(int x) { WIDE; return x * 3; }

KERNEL default_add(int x) { WIDE; return behind_add(shared(named_in_data(x))); }
KERNEL avx2_add(int x) { WIDE; return shared(named_in_data(x)) * 3; }
KERNEL avx512_add(int x) { return shared(named_in_data(x)) * 3; }
KERNEL default_mul(int x) { WIDE; return x * 5; }
KERNEL avx2_mul(int x) { return x * 5; }
KERNEL default_sub(int x) { WIDE; return x - 7; }
#ifdef DIRECT
KERNEL default_direct(int x) { return default_mul(x); }
#endif

REGISTER(add, DEFAULT, default_add) REGISTER(add, AVX2, avx2_add) REGISTER(add, AVX512, avx512_add)
REGISTER(mul, DEFAULT, default_mul) REGISTER(mul, AVX2, avx2_mul) REGISTER(mul, AVX512, nullptr)
REGISTER(sub, DEFAULT, default_sub) REGISTER(sub, AVX2, nullptr) REGISTER(sub, AVX512, nullptr)

#ifdef ODD_READER
__attribute__((visibility("default"))) int odd(int x) { return add_type::DEFAULT(x); }
#endif
#ifdef IN_DATA
Kernel* volatile elsewhere[] = {&add_type::DEFAULT};
#endif
#ifdef DIFFERENCES
asm(".pushsection .rodata; .balign 4; differences: .long 1 << 30, _ZN2at6nativeL11default_mulEi - differences; .popsection");
extern "C" __attribute__((visibility("hidden"))) const int differences[];
extern "C" int by_difference(int x, int number) { return ((Kernel)((const char*)differences + differences[number]))(x); }
#endif
#ifdef OFFSETS
asm("by_offset: lea _GLOBAL_OFFSET_TABLE_(%rip), %rax; movabs $_ZN2at6nativeL11default_mulEi@GOTOFF, %rdx; add %rdx, %rax; jmp *%rax");
#endif
#ifdef NO_CODE
KERNEL broken() { asm volatile(".byte 0x06"); return 0; }
#endif

}  // namespace at::native

using namespace at::native;

extern "C" int run(int op, int x) {
  try {
    return op == 0 ? add_stub(x) : op == 1 ? mul_stub(x) : sub_stub(x);
  } catch (const std::runtime_error&) {
    return -1;
  }
}
#ifdef MKL
extern "C" int mkl_blas_gemm() { asm volatile(".byte 0x06"); return 0; }
#endif
int (*volatile table[])(int) = {named_in_data};
extern "C" int other(int x) { return shared(x) + table[0](x); }
#ifdef DIRECT
extern "C" int direct(int x) { return default_direct(x); }
#endif
"""
_RUN = """
import ctypes, json, sys
library = ctypes.CDLL(sys.argv[1])
print(json.dumps([library.run(operation, 11) for operation in range(3)] + [library.other(11)]))
"""


def build_torch(folder: Path, *flags: str) -> Path:
    """Compile the library into a folder, with -D for the variants above."""
    need("g++")
    folder.mkdir(parents=True, exist_ok=True)
    source = folder.parent / f"{folder.name}.cpp"
    source.write_text(SOURCE)
    command = ["g++", "-std=c++17", "-O2", "-shared", "-fPIC", *flags, "-o", str(folder / NAME), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / NAME


def build_reader(path: Path, library: Path, *names: str) -> Path:
    """Compile a library that takes pointers of `add_stub` from another one, by the ends of their names, and the functions that choose."""
    need("gcc")
    stub, chooser = "_ZN2at6native12DispatchStubIPFiiENS0_8add_typeEE", "_ZN2at6native16DispatchStubImpl"
    symbols = [f"{stub}{name}" if name[-1] == "E" else f"{chooser}{name}" for name in names]
    externs = "".join(f'extern char s{number}[] asm("{symbol}");\n' for number, symbol in enumerate(symbols))
    source = f"{externs}char* volatile taken[] = {{{', '.join(f's{number}' for number in range(len(symbols)))}}};\n"
    command = ["gcc", "-xc", "-", "-shared", "-fPIC", "-o", str(path), f"-L{library.parent}", f"-l:{library.name}"]
    subprocess.run(command, input=source, text=True, check=True, capture_output=True)
    return path


def results(library: Path, capability: str) -> list[int]:
    """Return what its operations add, mul, sub and `other` give for 11, in a process of their own: -1 where no kernel is there."""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    done = subprocess.run([sys.executable, "-c", _RUN, str(library)], env=environment, capture_output=True, text=True, check=True)
    found: list[int] = json.loads(done.stdout)
    return found


def functions(library: Path) -> dict[str, int]:
    """Return the addresses of functions in code, by the last part of their names."""
    need("nm")
    lines = subprocess.run(["nm", "-C", str(library)], capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split(maxsplit=2) for line in lines if " t " in line.lower()]
    return {name.partition("(")[0].rpartition("::")[2]: int(address, 16) for address, _, name in rows}
