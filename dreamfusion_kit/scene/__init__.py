"""Meshes put together in scenes, written as files and photographed by a path tracer."""
