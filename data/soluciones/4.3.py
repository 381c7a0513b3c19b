respuesta = {
    "eval_strategy": "steps",
    "eval_steps": 100,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 32,
    "warmup_steps": 100,
    "logging_steps": 50,
}
