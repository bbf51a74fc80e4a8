"""metal_refiner."""
