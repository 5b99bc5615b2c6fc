"""The path of an image: sources -> convert -> storage -> beton -> sampling -> loading. Only fields/ imports ffcv."""
