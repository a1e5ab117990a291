"""Removing checkpoints that nobody needs any more, beside whoever runs the study.

What is needed says `tuneflow.retention`. Here is how the rest goes away:

* **Manifests** go first: those that were reported and are not kept, at once; and those that nobody
  ever reported, of segments that ended long ago.
* **Blobs** go when no manifest has them, and they were written so long ago that no save can rely on
  them. A save takes a blob for granted if a manifest has it that is kept while the save lasts, or
  if the blob is young. So blobs are listed before manifests are, and what is `COLLECT` seconds old
  by the storage's clock and in none of them is in no manifest that is yet to come.

If it ends in the middle, nothing is lost but its work.
"""

from tuneflow.collecting.background import collecting
from tuneflow.collecting.collection import Collection
from tuneflow.collecting.collector import COLLECT, collect, keep_of

__all__ = ["COLLECT", "Collection", "collect", "collecting", "keep_of"]
