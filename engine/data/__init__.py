"""The path of an image: sources -> convert -> storage -> beton -> sampling -> loading. Only here is ffcv imported."""
