"""What went wrong in a training job and where its time went: rules over what the job recorded, and one report.

`report.make` judges the output folder of a job, on the host and at a job's end in the image, where its command is
`python -m byoc_vision.debugger OUT`. NumPy and Pillow are all it needs. `smdebug_adapter` lets the tensor rules run
under smdebug, and alone imports it.
"""
