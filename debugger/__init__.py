"""What went wrong in a training job and where its time went: rules over what the job recorded, and one report.

`python -m debugger OUT` judges the output folder of a job; the tensor rules of `debugger.rules` are subclasses of
`smdebug.rules.Rule` and work with `smdebug.rules.invoke_rule` on any trial.
"""

import os

os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")  # smdebug reads it when it is imported, and then tells of itself.
