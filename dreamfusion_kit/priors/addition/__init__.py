"""What a recipe adds to a pretrained model: LoRAs, learned words, another VAE."""
