/* Where the functions stand, by major version: read from the public headers, and on purpose written
   down here a second time, apart from src/engine/tensorrt/raw.rs. */
#ifndef SLOTS_H
#define SLOTS_H

#ifndef MAJOR
#error "compile with -DMAJOR=8, 10 or 11 and -DVERSION=8601, 100300 or 110000"
#endif

#define SLOT(name, v8, v10, v11) enum { name = MAJOR == 8 ? (v8) : MAJOR == 10 ? (v10) : (v11) };

SLOT(IRuntime_deserializeCudaEngine, 2, 3, 3)
SLOT(IRuntime_setEngineHostCodeAllowed, 20, 21, 20)
SLOT(ICudaEngine_createExecutionContext, 11, 5, 5)
SLOT(ICudaEngine_createExecutionContextWithoutDeviceMemory, 13, 6, -1)
SLOT(ICudaEngine_getDeviceMemorySize, 14, 7, -1)
SLOT(ICudaEngine_getDeviceMemorySizeV2, -1, 52, 44)
SLOT(ICudaEngine_getNbIOTensors, 45, 30, 26)
SLOT(ICudaEngine_getIOTensorName, 46, 31, 27)
SLOT(ICudaEngine_getTensorShape, 34, 19, 15)
SLOT(ICudaEngine_getTensorDataType, 35, 20, 16)
SLOT(ICudaEngine_getTensorLocation, 36, 21, 17)
SLOT(ICudaEngine_isShapeInferenceIO, 37, 22, 18)
SLOT(ICudaEngine_getTensorIOMode, 38, 23, 19)
SLOT(ICudaEngine_getTensorFormat, 41, 26, 22)
SLOT(ICudaEngine_getProfileShape, 44, 29, 25)
SLOT(ICudaEngine_getNbOptimizationProfiles, 22, 10, 8)
SLOT(ICudaEngine_hasImplicitBatchDimension, 30, 15, -1)
SLOT(IExecutionContext_setOptimizationProfileAsync, 25, 17, 16)
SLOT(IExecutionContext_setInputShape, 29, 21, 20)
SLOT(IExecutionContext_getTensorShape, 30, 22, 21)
SLOT(IExecutionContext_setTensorAddress, 32, 24, 23)
SLOT(IExecutionContext_enqueueV3, 44, 37, 36)
SLOT(IExecutionContext_setDeviceMemory, 11, 10, 10)
SLOT(IExecutionContext_setDeviceMemoryV2, -1, 49, 48)
SLOT(IBuilder_createNetworkV2, 11, 8, 6)
SLOT(IBuilder_createBuilderConfig, 9, 7, 5)
SLOT(IBuilder_createOptimizationProfile, 12, 9, 7)
SLOT(IBuilder_buildSerializedNetwork, 17, 14, 11)
SLOT(IBuilderConfig_clearFlag, 14, 10, 8)
SLOT(IBuilderConfig_setFlag, 15, 11, 9)
SLOT(IBuilderConfig_setMemoryPoolLimit, 47, 43, 32)
SLOT(IBuilderConfig_addOptimizationProfile, 29, 25, 23)
SLOT(IBuilderConfig_createTimingCache, 44, 40, 29)
SLOT(IBuilderConfig_setTimingCache, 45, 41, 30)
SLOT(IBuilderConfig_setProgressMonitor, -1, 56, 45)
SLOT(ITimingCache_serialize, 2, 2, 2)
SLOT(INetworkDefinition_getNbInputs, 19, 14, 14)
SLOT(INetworkDefinition_getInput, 20, 15, 15)
SLOT(ITensor_getName, 3, 3, 3)
SLOT(ITensor_getDimensions, 5, 5, 5)
SLOT(IOptimizationProfile_setDimensions, 2, 2, 2)
SLOT(IOptimizationProfile_isValid, 9, 9, 7)
SLOT(IHostMemory_data, 2, 2, 2)
SLOT(IHostMemory_size, 3, 3, 3)
SLOT(ILogger_log, 0, 0, 4)
SLOT(IParser_parseFromFile, 1, 1, 1)
SLOT(IParser_setFlag, 15, 14, 12)
SLOT(IParser_getNbErrors, 6, 5, 3)
SLOT(IParser_getError, 7, 6, 4)
SLOT(IParser_delete, 10, 9, 7)
SLOT(IParserError_desc, 1, 1, 1)
SLOT(IParserError_node, 5, 5, 5)

/* A table of SLOTS functions that end the process, each with its place. */
#define TEN(M, class, tens) M(class, tens##0) M(class, tens##1) M(class, tens##2) M(class, tens##3) \
    M(class, tens##4) M(class, tens##5) M(class, tens##6) M(class, tens##7) M(class, tens##8)       \
    M(class, tens##9)
#define SLOTS 70
#define ALL(M, class) TEN(M, class, 0) TEN(M, class, 1) TEN(M, class, 2) TEN(M, class, 3)           \
    TEN(M, class, 4) TEN(M, class, 5) TEN(M, class, 6)
#define WRONG_FUNCTION(class, slot)                                                                \
    static void class##_##slot(void) { mock_die("%s", #class " has nothing at slot " #slot); }
#define WRONG_ENTRY(class, slot) (void *)class##_##slot,
#define TABLE(class)                                                                               \
    ALL(WRONG_FUNCTION, class)                                                                     \
    static void *class##_table[SLOTS] = { ALL(WRONG_ENTRY, class) };

#endif
