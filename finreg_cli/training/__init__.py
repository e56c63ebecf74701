"""Fine-tuning: one training script, run here in a subprocess and elsewhere on a worker."""
