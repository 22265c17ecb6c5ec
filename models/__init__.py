"""Labels to weights: tokenisation, encoder, scoring, batching, training and evaluation."""

import os

# ONNX Runtime's own telemetry is off before its first import: nothing of this product calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
