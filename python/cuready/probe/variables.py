"""Environment variables that change which GPU, library or package is used."""

from __future__ import annotations

import re

from cuready.probe.context import Context, Facts

__all__ = ["is_secret", "read"]

_PREFIXES = re.compile(
    r"(?:LD_|DYLD_|CONDA_|_?CE_|MAMBA_|PIXI_|PIP_|UV_|TORCH|PYTORCH|NCCL_|CUDNN_|CUBLAS|TF_|XLA_|JAX_"
    r"|ORT_|TRT|TENSORRT|TRITON_|BNB_|CUPY_|NUMBA_|HIP_|ROCR_|ROCM_|GPU_|MIG_|NVTE_|VLLM_|FLASH_ATTN"
    r"|SLURM_.*GPU|SLURM_(?:JOB_ID|STEP_GPUS)|OMP_|MKL_|KMP_|CUREADY_|APPTAINER|SINGULARITY|WSL)"
)
_NAMES = frozenset(
    {
        "PATH",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONNOUSERSITE",
        "PYTHONUSERBASE",
        "PYTHONSAFEPATH",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "COMPUTE_PROFILE",
        "CC",
        "CXX",
        "NVCC_CCBIN",
        "LIBRARY_PATH",
        "CPATH",
        "MAX_JOBS",
        "container",
        "KUBERNETES_SERVICE_HOST",
        "LSB_JOBID",
        "PBS_JOBID",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "HF_HOME",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "XDG_CONFIG_HOME",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CUSTOM_CA_BUNDLE",
    }
)
# Also what a misspelling of CUDA_VISIBLE_DEVICES looks like, so that a check can see it.
_ANYWHERE = re.compile(r"CUDA|NVIDIA|NVCC|VIS[AI]B|DEVICE_ORDER", re.IGNORECASE)
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|AUTH", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """True for a variable whose value nobody who diagnoses needs, such as HF_TOKEN."""
    return _SECRET.search(name) is not None


def matters(name: str) -> bool:
    """True for a variable that belongs into a snapshot."""
    known = name in _NAMES or _PREFIXES.match(name) or _ANYWHERE.search(name)
    return bool(known) and not is_secret(name)


def read(context: Context) -> Facts:
    """The variables that matter, by name."""
    return {"environment": {key: context.env[key] for key in sorted(context.env) if matters(key)}}
