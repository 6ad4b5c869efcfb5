"""The tool that compares compiled kernels ignores names, and nothing else."""

import kernel_code

CODE = """
; ModuleID = 'x'
define i32 @_ZN1a3addB2v1(ptr %out, i64 %rows) #0 {
entry.1:
  %"a b" = add i64 %rows, 1   ; a comment
  %c = call double @llvm.sqrt.f64(double 1.0), !dbg !7
  br label %entry.1, !llvm.loop !3
}
"""


def test_names_do_not_count_and_operations_do():
    renamed = (
        CODE.replace("_ZN1a3add", "_ZN5other4plus").replace("rows", "n").replace("entry.1", "top").replace("#0", "#4")
    )
    assert kernel_code.normalised(CODE) == kernel_code.normalised(renamed)
    for before, after in (
        ("i64 %rows, 1", "i64 %rows, 2"),
        ("add", "sub"),
        ("sqrt", "fabs"),
        ("i64 %rows, 1", "i64 1, %rows"),
    ):
        assert kernel_code.normalised(CODE) != kernel_code.normalised(CODE.replace(before, after))


def test_every_kernel_is_found():
    names = {name for name, _ in kernel_code.kernels()}
    assert {"vote", "brute_bytes", "embed", "search"} <= names
