"""What maps positions to density and albedo: grids, the initial blob, normals, files."""
