"""DeBERTaV3's own pre-training: replaced token detection with gradient-disentangled embedding sharing."""
