"""Pictures of triangle meshes, differentiable in vertices, colours and lights."""
