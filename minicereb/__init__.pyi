from minicereb import datasets as datasets
from minicereb.interface.learners import Cerebellum as Cerebellum
from minicereb.interface.learners import LikelihoodRatioNetwork as LikelihoodRatioNetwork
from minicereb.interface.learners import Perceptron as Perceptron
from minicereb.interface.measuring import attack as attack
from minicereb.interface.measuring import evaluate as evaluate

__version__: str
