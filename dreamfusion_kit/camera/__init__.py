"""Cameras and lights: poses, rays through pixels, random and fixed views."""
