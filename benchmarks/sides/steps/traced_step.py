"""What one training step does on a GPU, from the code that torch.compile makes for it: launches, bytes, FLOPs.

The network's forward and backward pass, as the step has them compiled. Loss, gradient exchange and optimizer are not
compiled and not in it. Bytes are those that kernels read and write, each tensor of a kernel once: what a cache keeps
between two kernels is not subtracted.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._guards import detect_fake_mode
from torch.fx import GraphModule, Node
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from benchmarks.sides.steps.faked_cuda import fake_cuda, put
from benchmarks.sides.steps.local_step import CLASSES, ranks_here
from engine.config.train.train_config import TrainConfig
from engine.models import blurpool
from engine.models.blurpool import blur_by_triton
from engine.models.head import train_mode
from engine.train.step.precision import Precision
from engine.train.step.step import Step
from engine.train.weights import bare_network

_CPU = torch.device("cpu")
_CUDA = torch.device("cuda", 0)
_LAUNCH = re.compile(r"\b(triton_\w+\.run|extern_kernels\.\w+|torch\.ops\.\w+\.\w+[\w.]*)\(")

_aten = torch.ops.aten
_FORWARD, _BACKWARD = _aten.convolution.default, _aten.convolution_backward.default
_MATRIX = (_aten.mm.default, _aten.addmm.default)


class _Made(BaseException):
    """Inductor has made its code: no more is wanted."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """A convolution or a matrix product, its numbers for the whole batch."""

    kind: str
    """forward, input gradient, weight gradient, blur (a depthwise convolution) or matrix."""
    flops: float
    bytes: float


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What inductor made of a forward or a backward pass, its numbers for the whole batch."""

    backward: bool
    launches: int
    triton_bytes: float
    other_bytes: float
    """Of convolutions, matrix products and our own operators."""
    products: Sequence[Product]


class Tracer:
    """Traces steps on a GPU that is faked. One in a process: torch is changed for good.

    The graph is made on the CPU, since autograd in C++ asks CUDA for its streams, and moved before inductor gets it.
    """

    def __init__(self) -> None:
        import torch._inductor.config as inductor
        from torch._inductor.graph import GraphLowering

        put(inductor, fx_graph_cache=False, compile_threads=1)
        # The rule is for CPUs, where the graph is made.
        put(blurpool, _slow_with_stride=lambda _: False)
        self._fake = fake_cuda()
        self._graphs: list[Graph] = []
        self._lowered: Any = None
        put(GraphLowering, compile_to_module=lambda lowered: self._stop(lowered))
        compiling, randn = torch.compile, torch.randn

        def with_our_backend(model: torch.nn.Module, **options: Any) -> Any:
            return compiling(model, backend=self._compile, **options)

        def made(*shape: Any, **options: Any) -> torch.Tensor:
            with self._fake:
                return randn(*shape, **options)

        put(torch, compile=with_our_backend, randn=made)

    def resolutions(
        self, config: TrainConfig, sides: Sequence[int], batch: int
    ) -> dict[int, tuple[list[Graph], int]]:
        """Graphs and graph breaks of each resolution, compiled in turn by one step as a run has it.

        The graphs are those of the warm-up and of a further batch, which should need none.
        """
        from torch._dynamo.utils import counters

        network = bare_network(config, CLASSES).to(memory_format=torch.channels_last)
        if config.training.blur_kernel == "triton":
            blur_by_triton(network)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        train_mode(network._apply(self._fake.from_tensor))
        with self._fake:
            step = Step(config, ranks_here(_CPU), Precision("bf16", _CPU), network, CLASSES)
        found = {}
        for side in sides:
            step.prepare(batch, side)
            with step.precision.autocast():
                step.logits(
                    torch.randn(batch, 3, side, side, dtype=torch.bfloat16).to(
                        memory_format=torch.channels_last
                    )
                )
            found[side] = self._graphs, sum(counters["graph_break"].values())
            self._graphs = []
            counters.clear()
        return found

    def _compile(
        self, graph: GraphModule, inputs: Sequence[Any], options: dict[str, Any] | None = None
    ) -> Any:
        """torch.compile's backend; `options` are inductor's that it was called with."""
        from torch._inductor.compile_fx import compile_fx

        return compile_fx(graph, inputs, inner_compile=self._inner, config_patches=options)

    def _inner(self, graph: GraphModule, inputs: Sequence[Any], **options: Any) -> Any:
        """Has inductor make the code for a GPU; returns what gives the graph's results as fake tensors."""
        from torch._inductor.compile_fx import compile_fx_inner

        there = GraphModule(graph, copy.deepcopy(graph.graph))
        sent = _send(there, inputs)
        products = [product for node in there.graph.nodes for product in _products(node)]
        self._lowered = None
        try:
            compile_fx_inner(there, sent, **options)
        except BaseException:
            # torch may wrap what was raised in it.
            if self._lowered is None:
                raise
        code, triton, other = self._lowered
        self._graphs.append(
            Graph(
                backward=bool(options.get("is_backward")),
                launches=len(_LAUNCH.findall(code[code.rindex("def call(") :])),
                triton_bytes=triton,
                other_bytes=other,
                products=products,
            )
        )

        def run(arguments: list[Any]) -> Any:
            with self._fake:
                return graph.forward(*arguments)

        put(run, _boxed_call=True)
        return run

    def _stop(self, lowered: Any) -> None:
        code = lowered.codegen()[0]
        sizes = [0, 0]
        for node in lowered.scheduler.nodes:
            sizes[type(node).__name__ == "ExternKernelSchedulerNode"] += node.get_read_write_buffers_sizes()
        self._lowered = getattr(code, "value", code), *sizes
        raise _Made


def _send(graph: GraphModule, inputs: Sequence[Any]) -> list[Any]:
    """Move a graph from the CPU to the GPU, all tensors in it being fake; returns its inputs there."""
    for node in graph.graph.nodes:
        node.args, node.kwargs = torch.fx.node.map_aggregate(
            (node.args, node.kwargs), lambda each: _CUDA if isinstance(each, torch.device) else each
        )
    graph.recompile()
    mode = detect_fake_mode(inputs)
    assert mode is not None
    with mode:
        sent = [
            torch.empty_strided(each.size(), each.stride(), dtype=each.dtype, device=_CUDA)
            if isinstance(each, torch.Tensor)
            else each
            for each in inputs
        ]
    FakeTensorProp(graph, mode).propagate_dont_convert_inputs(*sent)
    return sent


def _products(node: Node) -> list[Product]:
    """The products that a node of a graph is."""
    arguments: Any = node.args
    if node.target is _FORWARD:
        images, weight = (_value(arguments[place]) for place in (0, 1))
        groups = arguments[8]
        kind = "blur" if groups == images.shape[1] and groups > 1 else "forward"
        return [_product(kind, _value(node), weight, (images, weight, _value(node)))]
    if node.target is _BACKWARD:
        gradient, images, weight = (_value(arguments[place]) for place in (0, 1, 2))
        groups, wanted = arguments[9], arguments[10]
        blur = groups == images.shape[1] and groups > 1
        found = []
        if wanted[0]:
            found.append(
                _product("blur" if blur else "input gradient", gradient, weight, (gradient, weight, images))
            )
        if wanted[1]:
            found.append(_product("weight gradient", gradient, weight, (gradient, images, weight)))
        return found
    if node.target in _MATRIX:
        left, right = (_value(argument) for argument in arguments[-2:])
        out = _value(node)
        moved = sum(map(_size, (left, right, out)))
        return [Product(kind="matrix", flops=2.0 * out.numel() * left.shape[1], bytes=moved)]
    return []


def _product(kind: str, out: Any, weight: Any, moved: Sequence[Any]) -> Product:
    """Of a convolution that makes `out`, or of one of its gradients, which take as many FLOPs."""
    flops = 2.0 * out.numel() * weight.numel() / weight.shape[0]
    return Product(kind=kind, flops=flops, bytes=sum(map(_size, moved)))


def _value(node: Any) -> Any:
    return node.meta["val"]


def _size(tensor: Any) -> float:
    return float(tensor.numel() * tensor.element_size())
