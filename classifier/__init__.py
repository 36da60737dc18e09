"""The picture classifier that training makes and serving answers with.

The one room both images share: how a picture is decoded (`pictures`), how it becomes a tensor (`preprocessing`), the
network (`network`), what is said of weights that do not fit it (`state_dicts`), and the files a trained model is kept
in (`artifact`). Nothing here knows of SageMaker or HTTP.
"""
