"""What reproduces a failed cell: one folder, one command."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from harness.artifact import Artifact
from harness.isolation import STANDARD_ERROR, Ended
from harness.runtimes.coreml.request import INPUTS, RESULT, STAGES, CellRequest

README = "README.md"
# A larger package is not copied, but named with its hash.
LARGEST_COPY = 256 * 1024**2


def write_bundle(
    bundle: Path, folder: Path, request: CellRequest, artifact: Artifact, ended: Ended, sentence: str
) -> None:
    """Fill ``bundle`` from a failed cell's ``folder``; an older bundle there is replaced. Raises OSError."""
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    copied = artifact.size_bytes <= LARGEST_COPY
    if copied:
        package = bundle / f"model{artifact.path.suffix}"
        if artifact.path.is_dir():
            shutil.copytree(artifact.path, package)
        else:
            shutil.copyfile(artifact.path, package)
        request = replace(request, package=Path(package.name))
    request.write(bundle)
    for name in (INPUTS, STAGES, RESULT, STANDARD_ERROR):
        if (folder / name).exists():
            # What the failed process left is kept beside what a new one will write.
            shutil.copyfile(folder / name, bundle / (name if name == INPUTS else f"failed-{name}"))
    (bundle / README).write_text(_readme(request, artifact, ended, sentence, copied))


def _readme(request: CellRequest, artifact: Artifact, ended: Ended, sentence: str, copied: bool) -> str:
    whole = "is a copy" if copied else f"is too large to be copied, and stays at `{artifact.path}`"
    facts = {
        "compute unit": request.compute_unit,
        "package": f"{whole}; SHA-256 {artifact.content_hash()}, {artifact.size_bytes:,} bytes",
        "converted by": ", ".join(f"{name} {value}" for name, value in artifact.provenance.items()),
        "took": f"{ended.seconds:.1f} s, at most {ended.peak_bytes / 1e6:,.0f} MB of memory seen",
    }
    lines = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    return f"""# A Core ML cell that failed

{sentence}

Run it again, in this folder:

```
python -m harness.runtimes.coreml.cell .
```

It compiles, loads and predicts in that process, and writes how far it got to `stages.txt` and `result.json`. What the
failed process left is in `failed-*`. After a crash, macOS writes a report of its own to
`~/Library/Logs/DiagnosticReports`.

{lines}
"""
