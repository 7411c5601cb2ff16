"""A site's long-lived process: GPT-2 loaded once, learning for the cloud, prompts for people."""
