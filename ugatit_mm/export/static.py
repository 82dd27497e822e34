"""Simplified graphs of fixed shapes, for ONNX readers that know few operators."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir


def simplify(model: 'onnx_ir.Model') -> None:
    """Fold constants, split operators that add several axes at once, write sizes of kernels.

    OpenCV 4.11 takes constants only as weights of layers, its ``Unsqueeze`` adds one axis, and its
    convolutions need ``kernel_shape``, which onnxscript 0.7.0 leaves out.

    Args:
        model: Every shape in it is a number.
    """
    import onnx_ir as ir
    from onnxscript import optimizer

    graph = model.graph

    def constant(values: np.ndarray, name: str) -> ir.Value:
        value = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(values), name=name))
        value.shape, value.dtype = value.const_value.shape, value.const_value.dtype
        graph.register_initializer(value)
        return value

    for node in list(graph):  # the optimiser below skips nodes with several outputs
        if node.op_type == 'Split' and node.inputs[0].const_value is not None:
            whole, axis = node.inputs[0].const_value.numpy(), node.attributes['axis'].as_int()
            borders = np.cumsum([output.shape[axis] for output in node.outputs])[:-1]
            for output, part in zip(node.outputs, np.split(whole, borders, axis), strict=True):
                folded = constant(part, f'{output.name}_folded')
                ir.convenience.replace_all_uses_with(output, folded)
            graph.remove(node, safe=True)
    every = 1 << 40  # bytes
    optimizer.fold_constants(model, input_size_limit=every, output_size_limit=every)
    for node in list(graph):
        if node.op_type == 'Unsqueeze':
            (before,) = node.outputs
            shape = constant(np.array(before.shape.numpy()), f'{before.name}_shape')
            after = ir.Value(name=f'{before.name}_reshaped', shape=before.shape, type=before.type)
            graph.insert_before(node, ir.node('Reshape', [node.inputs[0], shape], outputs=[after]))
            ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
            graph.remove(node, safe=True)
        elif node.op_type in ('Conv', 'ConvTranspose') and 'kernel_shape' not in node.attributes:
            kernel = node.inputs[1].shape.numpy()[2:]
            node.attributes['kernel_shape'] = ir.AttrInt64s('kernel_shape', kernel)
    optimizer.remove_unused_nodes(model)
