"""The worker process: its life (main) and its data path (channel). Nothing here is for handlers."""
