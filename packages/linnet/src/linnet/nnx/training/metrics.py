"""Metrics, which are accumulated over batches."""

from linnet.module_core.nnx import MetricState as MetricState
from linnet.module_core.nnx import Pytree as Pytree
from linnet.module_core.nnx import Variable as Variable
from linnet.module_core.nnx.training.metrics import Accuracy as Accuracy
from linnet.module_core.nnx.training.metrics import Average as Average
from linnet.module_core.nnx.training.metrics import Metric as Metric
from linnet.module_core.nnx.training.metrics import MultiMetric as MultiMetric
from linnet.module_core.nnx.training.metrics import Statistics as Statistics
from linnet.module_core.nnx.training.metrics import Welford as Welford
