/* A driver library that lacks what CUDA 11.4 brought. */
int cuInit(unsigned flags);
int cuInit(unsigned flags) { return (int)flags; }
int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) {
    *version = 10020;
    return 0;
}
