"""One encoder, many tasks: fine-tuning on the Hugging Face Trainer."""
