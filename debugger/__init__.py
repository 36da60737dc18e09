"""What went wrong in a training job and where its time went: rules over what the job recorded, and one report.

`debugger.report.make` judges the output folder of a job; `python -m debugger OUT` is its command. NumPy and Pillow are
all it needs. `debugger.smdebug_adapter` lets the tensor rules run under smdebug, and alone imports it.
"""
