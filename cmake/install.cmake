# Install rules: a normal prefix, or the package folder of the wheel when scikit-build-core drives the build.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

if(DEFINED SKBUILD)
  # site-packages/cuready/{include,lib,lib/cmake/cuready}; `python -m cuready --cmake-dir` prints the last one.
  set(cuready_include_dir cuready/include)
  set(cuready_lib_dir cuready/lib)
else()
  set(cuready_include_dir ${CMAKE_INSTALL_INCLUDEDIR})
  set(cuready_lib_dir ${CMAKE_INSTALL_LIBDIR})
endif()
set(cuready_cmake_dir ${cuready_lib_dir}/cmake/cuready)

install(TARGETS cuready_runtime EXPORT cuready_targets COMPONENT cuready_sdk
        ARCHIVE DESTINATION ${cuready_lib_dir} LIBRARY DESTINATION ${cuready_lib_dir}
        INCLUDES DESTINATION ${cuready_include_dir})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/include/cuready DESTINATION ${cuready_include_dir} COMPONENT cuready_sdk
        FILES_MATCHING PATTERN "*.hpp")
install(EXPORT cuready_targets NAMESPACE cuready:: FILE cuready-targets.cmake
        DESTINATION ${cuready_cmake_dir} COMPONENT cuready_sdk)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/cuready-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/cuready-config.cmake INSTALL_DESTINATION ${cuready_cmake_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/cuready-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cuready-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/cuready-config-version.cmake
        DESTINATION ${cuready_cmake_dir} COMPONENT cuready_sdk)
