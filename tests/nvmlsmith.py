"""Stands for the driver of NVIDIA's GPUs, which a machine without one lacks: a library of the same name and functions."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

LOGGED = "init shutdown"
"""What the library writes when it was asked and left as it should be."""

_SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* FAKE_GPUS: `UUID|NAME|MAJOR.MINOR`, one a line; NAME "denied" is a GPU that may not be used, one that ends in "MIG" is divided.
   FAKE_LOG: a file to note calls in. FAKE_HANGS: it never answers. */
struct gpu { char uuid[96], name[96]; int major, minor, instance; };
static struct gpu gpus[16];
static int count;
static void note(const char *what) {
  const char *path = getenv("FAKE_LOG");
  FILE *log = path ? fopen(path, "a") : NULL;
  if (log) { fputs(what, log); fclose(log); }
}
int nvmlInit_v2(void) {
  const char *given = getenv("FAKE_GPUS");
  note("init ");
  while (getenv("FAKE_HANGS")) pause();
  if (given == NULL) return 9; /* NVML_ERROR_DRIVER_NOT_LOADED */
  for (count = 0; *given && count < 16; count++) {
    struct gpu *gpu = &gpus[count];
    if (sscanf(given, "%95[^|]|%95[^|]|%d.%d", gpu->uuid, gpu->name, &gpu->major, &gpu->minor) != 4) abort();
    given += strcspn(given, "\n");
    given += *given == '\n';
  }
  return 0;
}
int nvmlShutdown(void) { note("shutdown"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *found) { *found = count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  *device = &gpus[index];
  return strcmp(gpus[index].name, "denied") ? 0 : 4; /* NVML_ERROR_NO_PERMISSION */
}
int nvmlDeviceGetName(void *device, char *text, unsigned size) { snprintf(text, size, "%s", ((struct gpu *)device)->name); return 0; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned size) { snprintf(text, size, "%s", ((struct gpu *)device)->uuid); return 0; }
#ifndef OLD
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
  *major = ((struct gpu *)device)->major;
  *minor = ((struct gpu *)device)->minor;
  return 0;
}
#endif
int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *next) {
  const char *name = ((struct gpu *)device)->name;
  *now = strlen(name) > 3 && !strcmp(name + strlen(name) - 3, "MIG");
  *next = 0;
  return strcmp(name, "Tesla T4") ? 0 : 3; /* NVML_ERROR_NOT_SUPPORTED */
}
/* MIG-n is an instance of the GPU n. */
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
  int index = -1;
  if (sscanf(uuid, "MIG-%d", &index) != 1 || index < 0 || index >= count) return 6; /* NVML_ERROR_NOT_FOUND */
  *device = &gpus[index].instance;
  return 0;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *instance, void **device) {
  *device = (char *)instance - ((char *)&gpus[0].instance - (char *)&gpus[0]);
  return 0;
}
"""


def fake_driver(folder: Path, *flags: str) -> Path:
    """Make the library in a folder, which is returned: LD_LIBRARY_PATH is to name it. With `-DOLD` it lacks a function."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc")
    source = folder / "nvml.c"
    source.write_text(_SOURCE)
    subprocess.run([compiler, *flags, "-shared", "-fPIC", "-O1", source, "-o", folder / "libnvidia-ml.so.1"], check=True)
    return folder
