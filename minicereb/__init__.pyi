from minicereb import datasets as datasets
from minicereb.interface.adapted import from_callable as from_callable
from minicereb.interface.adapted import from_onnx as from_onnx
from minicereb.interface.adapted import from_sklearn as from_sklearn
from minicereb.interface.learners import Cerebellum as Cerebellum
from minicereb.interface.learners import LikelihoodRatioNetwork as LikelihoodRatioNetwork
from minicereb.interface.learners import Perceptron as Perceptron
from minicereb.interface.measuring import attack as attack
from minicereb.interface.measuring import evaluate as evaluate
from minicereb.interface.torch_models import from_torch as from_torch
from minicereb.interface.torch_models import to_art as to_art
from minicereb.interface.torch_models import to_foolbox as to_foolbox
from minicereb.interface.torch_models import to_torch as to_torch

__version__: str
